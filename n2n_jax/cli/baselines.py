"""`n2n baselines`: scores classical methods on clean images with synthetic noise."""

import argparse
import logging
from typing import TYPE_CHECKING, Any

from n2n_jax.cli import options

if TYPE_CHECKING:
    from n2n_jax.runtime.config import Config

_log = logging.getLogger(__name__)

# A test checks that every baseline and every option is named.
_HELP = """methods and their options; 0 means: chosen on noisy pairs
  nlm:strength=0        non-local means, in standard deviations of the noise
  bm3d:strength=0       BM3D, with variance stabilization for Poisson noise;
                        needs pip install 'n2n_jax[baselines]' (a package that is
                        free for non-commercial use only)
  wavelet:family=db2    BayesShrink; needs pip install 'n2n_jax[wavelet]'
  tv:weight=0           total variation (Chambolle)
  median:size=0         side of the window in pixels; for impulses
  dip:steps=1800,rate=0.001,jitter=0.3,average=0.99,network=unet,seed=0,whole=False
                        Deep Image Prior: fits a network to each noisy image until
                        what is left is the noise, or with whole for all steps;
                        minutes to hours: try it with --max-images 1

Noise levels are known from the noise, or estimated from each noisy image where it has a range of
levels. Noisy pairs are drawn from built-in photographs. No clean image is used.

examples:
  n2n baselines tv,median --noise gaussian:25,impulse:0.3 --max-images 2
  n2n baselines bm3d,nlm --sets kodak24=folder:kodak --noise poisson:30 -o bm3d.json
  n2n baselines dip:steps=500 median:size=3 --sets folder:photos --max-images 1
"""


def add_parser(commands: Any) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        'baselines',
        help='score classical methods (BM3D, total variation, ...) on clean images',
        description='Scores methods that need no training on clean images with synthetic noise: '
        'the noisy images, the noise and the metrics that networks are evaluated with.',
        epilog=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'methods', nargs='+', metavar='METHOD', help='such as bm3d, tv:0.1 or nlm,median:size=3'
    )
    parser.add_argument(
        '--sets', default='photos', metavar='LIST',
        help='clean images, as eval.sets: NAME=folder:DIR, with commas between several (default: '
        'photos, which come with scikit-image)',
    )  # fmt: skip
    parser.add_argument(
        '--noise', default='gaussian:25', metavar='LIST',
        help='noise, as eval.noise (default: gaussian:25); see n2n show-noise --help',
    )  # fmt: skip
    parser.add_argument(
        '--max-images', type=int, default=0, metavar='N', help='use the first N images of each set'
    )
    parser.add_argument('--gray', action='store_true', help='convert the images to gray')
    options.add_imports(parser)
    parser.add_argument(
        '-o', dest='output', type=options.path, metavar='FILE',
        help='JSON file to write the rows to, in the form of results.json',
    )  # fmt: skip
    parser.add_argument('--force', action='store_true', help='overwrite FILE')
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    from n2n_jax.evaluate import baseline_scores, baselines, results_table
    from n2n_jax.runtime import console, json_files, result_rows
    from n2n_jax.runtime.atomic_files import write_text
    from n2n_jax.runtime.parallel import make_layout

    options.check_free(arguments.output, '-o', arguments)
    options.run_imports(arguments)
    chosen = baselines.make_list(','.join(arguments.methods))
    config = _config(arguments)
    console.keep_compiled_code()
    rows: list[result_rows.Row] = []
    layout = make_layout(config.data.batch_size)
    for report in baseline_scores.score(chosen, config, layout):
        rows += report.rows
        if arguments.output:  # after each, as some take hours
            write_text(arguments.output, json_files.dumps(rows, indent=1))
    print(results_table.markdown(rows))
    for row in rows:
        noise = f' ({row["noise"]})' if ',' in arguments.noise else ''
        print(f'{row["method"]}{noise}: {row["tuning"]}; {row["seconds"]:.1f} s.')
    if arguments.output:
        _log.info('%s', arguments.output)


def _config(arguments: argparse.Namespace) -> 'Config':
    """Returns the config of an evaluation.

    Raises:
      UserError: an option is invalid.
    """
    from n2n_jax.runtime.config import Config, from_config_dict, to_config_dict

    values = to_config_dict(Config())
    values.update_from_flattened_dict(
        {
            'model.channels': 1 if arguments.gray else 3,
            'eval.sets': arguments.sets,
            'eval.noise': arguments.noise,
            'eval.max_images': arguments.max_images,
        }
    )
    return from_config_dict(values)
