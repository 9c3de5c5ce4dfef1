// Shows one image at any zoom from tiles of 512 pixels: before and after in one place or side by
// side, what was removed, or the error. One image pixel is one device pixel at a scale of 1.

const TILE = 512;
const MOST_TILES = 300; // kept
const MOST_SCALE = 16;
const GRIP = 24; // CSS pixels around the border within which a pointer takes hold of it

export class Viewer {
  constructor(canvas, onChange) {
    this.canvas = canvas;
    this.onChange = onChange;
    this.tiles = new Map();
    this.pointers = new Map();
    this.mode = 'slider';
    this.split = 0.5;
    this.picture = null;
    canvas.addEventListener('wheel', (event) => this.onWheel(event), { passive: false });
    canvas.addEventListener('pointerdown', (event) => this.onDown(event));
    canvas.addEventListener('pointermove', (event) => this.onMove(event));
    for (const name of ['pointerup', 'pointercancel']) {
      canvas.addEventListener(name, (event) => this.pointers.delete(event.pointerId));
    }
    canvas.addEventListener('keydown', (event) => this.onKey(event));
    new ResizeObserver(() => this.resize()).observe(canvas.parentElement);
  }

  // picture: {id, width, height, version, hasResult}; a new version has another result.
  show(picture, index = 0) {
    const same = this.picture && this.picture.id === picture.id && this.index === index;
    const newSize = !this.picture || this.picture.width !== picture.width
      || this.picture.height !== picture.height;
    this.picture = picture;
    this.index = index;
    this.levels = 1;
    let side = Math.max(picture.width, picture.height);
    while (side > TILE) {
      side = Math.ceil(side / 2);
      this.levels += 1;
    }
    if (!same && newSize) this.fit();
    this.redraw();
  }

  clear() {
    this.picture = null;
    this.tiles.clear();
  }

  setMode(mode) {
    this.mode = mode;
    this.redraw();
  }

  setSplit(split) {
    this.split = Math.min(1, Math.max(0, split));
    this.redraw();
  }

  panes() {
    const { width, height } = this.canvas;
    if (this.mode !== 'beside') return [{ left: 0, width, height }];
    const gap = 4;
    const half = Math.floor((width - gap) / 2);
    return [{ left: 0, width: half, height }, { left: half + gap, width: half, height }];
  }

  fit() {
    if (!this.picture) return;
    const pane = this.panes()[0];
    const whole = Math.min(pane.width / this.picture.width, pane.height / this.picture.height);
    this.scale = whole < 2 ? whole : Math.min(MOST_SCALE, Math.floor(whole));
    this.x = this.picture.width / 2;
    this.y = this.picture.height / 2;
    this.redraw();
  }

  zoomTo(scale, atX, atY) {
    if (!this.picture) return;
    const pane = this.panes()[0];
    const dx = (atX ?? pane.width / 2) - pane.width / 2;
    const dy = (atY ?? pane.height / 2) - pane.height / 2;
    const next = Math.min(MOST_SCALE, Math.max(0.01, scale));
    this.x += dx / this.scale - dx / next;
    this.y += dy / this.scale - dy / next;
    this.scale = next;
    this.redraw();
  }

  // Whole device pixels, so that the browser scales nothing.
  resize() {
    const ratio = window.devicePixelRatio || 1;
    const width = Math.floor(this.canvas.parentElement.clientWidth * ratio);
    const height = Math.floor(this.canvas.getBoundingClientRect().height * ratio);
    if (!width || !height) return;
    const first = !this.scale;
    this.canvas.style.width = `${width / ratio}px`;
    if (this.canvas.width !== width) this.canvas.width = width;
    if (this.canvas.height !== height) this.canvas.height = height;
    if (first) this.fit();
    this.redraw();
  }

  position(event) {
    const ratio = this.canvas.width / this.canvas.getBoundingClientRect().width;
    return { x: event.offsetX * ratio, y: event.offsetY * ratio, ratio };
  }

  inPane(x) {
    const panes = this.panes();
    const pane = panes.find((each) => x < each.left + each.width) ?? panes[panes.length - 1];
    return x - pane.left;
  }

  onWheel(event) {
    event.preventDefault();
    const { x, y } = this.position(event);
    this.zoomTo(this.scale * 1.0015 ** -event.deltaY, this.inPane(x), y);
  }

  onDown(event) {
    const { x, y, ratio } = this.position(event);
    this.canvas.setPointerCapture(event.pointerId);
    const border = this.split * this.canvas.width;
    const grips = this.mode === 'slider' && this.picture?.hasResult
      && Math.abs(x - border) < GRIP * ratio;
    this.pointers.set(event.pointerId, { x, y, grips });
  }

  onMove(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before || !this.picture) return;
    const { x, y } = this.position(event);
    const others = [...this.pointers].filter(([id]) => id !== event.pointerId);
    if (before.grips) {
      this.setSplit(x / this.canvas.width);
    } else if (others.length === 1) {
      const other = others[0][1];
      const ratio = Math.hypot(x - other.x, y - other.y)
        / Math.max(1, Math.hypot(before.x - other.x, before.y - other.y));
      this.zoomTo(this.scale * ratio, this.inPane((x + other.x) / 2), (y + other.y) / 2);
    } else {
      this.x -= (x - before.x) / this.scale;
      this.y -= (y - before.y) / this.scale;
      this.redraw();
    }
    this.pointers.set(event.pointerId, { ...before, x, y });
  }

  onKey(event) {
    if (!this.picture || event.ctrlKey || event.metaKey || event.altKey) return;
    const step = 60 / this.scale;
    const actions = {
      ArrowLeft: () => { this.x -= step; },
      ArrowRight: () => { this.x += step; },
      ArrowUp: () => { this.y -= step; },
      ArrowDown: () => { this.y += step; },
      '+': () => this.zoomTo(this.scale * 1.25),
      '-': () => this.zoomTo(this.scale / 1.25),
      0: () => this.fit(),
      1: () => this.zoomTo(1),
      '[': () => this.setSplit(this.split - 0.02),
      ']': () => this.setSplit(this.split + 0.02),
    };
    if (!(event.key in actions)) return;
    event.preventDefault();
    actions[event.key]();
    this.redraw();
  }

  tile(which, level, column, row) {
    const { id, version } = this.picture;
    const url = `/api/pictures/${id}/${which}/${this.index}/${level}/${column}/${row}.png?v=${version}`;
    let image = this.tiles.get(url);
    if (!image) {
      image = new Image();
      image.onload = () => this.redraw();
      image.onerror = () => { image.failed = true; };
      image.src = url;
      this.tiles.set(url, image);
      if (this.tiles.size > MOST_TILES) this.tiles.delete(this.tiles.keys().next().value);
    }
    return image;
  }

  redraw() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.draw();
    });
  }

  draw() {
    const context = this.canvas.getContext('2d');
    const { width, height } = this.canvas;
    context.clearRect(0, 0, width, height);
    if (!this.picture || !this.scale) return;
    const has = this.picture.hasResult;
    const panes = this.panes();
    if (!has && this.mode !== 'error') {
      this.drawLayer(context, 'noisy', panes[0], 0, 1);
    } else if (this.mode === 'slider') {
      this.drawLayer(context, 'noisy', panes[0], 0, this.split);
      this.drawLayer(context, 'denoised', panes[0], this.split, 1);
      const border = Math.round(this.split * width);
      context.fillStyle = '#000';
      context.fillRect(border - 2, 0, 4, height);
      context.fillStyle = '#fff';
      context.fillRect(border - 1, 0, 2, height);
    } else if (this.mode === 'beside') {
      this.drawLayer(context, 'noisy', panes[0], 0, 1);
      this.drawLayer(context, 'denoised', panes[1], 0, 1);
    } else {
      this.drawLayer(context, this.mode, panes[0], 0, 1);
    }
    this.onChange(this);
  }

  drawLayer(context, which, pane, from, to) {
    context.save();
    context.beginPath();
    context.rect(pane.left + from * pane.width, 0, (to - from) * pane.width, pane.height);
    context.clip();
    context.imageSmoothingEnabled = this.scale < 2 && this.scale !== 1;
    const level = Math.min(this.levels - 1, Math.max(0, Math.floor(Math.log2(1 / this.scale))));
    // The smallest level first, so that something is there until the others have come.
    for (const each of level === this.levels - 1 ? [level] : [this.levels - 1, level]) {
      this.drawLevel(context, which, pane, each);
    }
    context.restore();
  }

  drawLevel(context, which, pane, level) {
    const size = TILE * 2 ** level; // of a tile, in image pixels
    const left = this.x - pane.width / 2 / this.scale;
    const top = this.y - pane.height / 2 / this.scale;
    const right = Math.min(this.picture.width, left + pane.width / this.scale);
    const bottom = Math.min(this.picture.height, top + pane.height / this.scale);
    for (let row = Math.max(0, Math.floor(top / size)); row * size < bottom; row += 1) {
      for (let column = Math.max(0, Math.floor(left / size)); column * size < right; column += 1) {
        const image = this.tile(which, level, column, row);
        if (!image.complete || image.failed || !image.naturalWidth) continue;
        const x = pane.left + Math.round((column * size - left) * this.scale);
        const y = Math.round((row * size - top) * this.scale);
        const w = Math.round(image.naturalWidth * 2 ** level * this.scale);
        const h = Math.round(image.naturalHeight * 2 ** level * this.scale);
        context.drawImage(image, x, y, w, h);
      }
    }
  }
}
