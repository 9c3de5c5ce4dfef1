"""model.precision reaches every product of the network, forward and backward."""

import jax
import jax.numpy as jnp
import pytest
from tiny import first_variables, tiny_config

from n2n_jax import corruptions, models
from n2n_jax.data.feeds import DeviceFeed
from n2n_jax.data.sources.photos import photos
from n2n_jax.data.sources.source import ArraySource
from n2n_jax.evaluate import protocol_text
from n2n_jax.runtime.config import Config, ModelConfig
from n2n_jax.runtime.parallel import make_layout
from n2n_jax.train import step as steps
from n2n_jax.train.tasks import make_task

HIGHEST = (jax.lax.Precision.HIGHEST, jax.lax.Precision.HIGHEST)


def precisions(jaxpr):
    """The precision of every convolution and matrix product of a program."""
    found = []
    for equation in jaxpr.eqns:
        if equation.primitive.name in ('conv_general_dilated', 'dot_general'):
            found.append(equation.params['precision'])
        for inner in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda x: hasattr(x, 'eqns')
        ):
            inner = getattr(inner, 'jaxpr', inner)
            if hasattr(inner, 'eqns'):
                found += precisions(inner)
    return found


@pytest.mark.parametrize(('precision', 'expected'), [('default', None), ('highest', HIGHEST)])
def test_all_products_of_a_network_have_it(precision, expected):
    config = ModelConfig(channels=1, precision=precision)
    model, variables = models.build(config), first_variables(config)
    program = jax.make_jaxpr(model.apply)(variables, jnp.zeros((1, 32, 32, 1)))
    found = precisions(program.jaxpr)
    assert len(found) > 18
    assert set(found) == {expected}


@pytest.mark.parametrize(('precision', 'expected'), [('default', None), ('highest', HIGHEST)])
def test_all_products_of_a_step_have_it(precision, expected):
    config = tiny_config(**{'model.name': 'unet', 'data.crop': 32, 'model.precision': precision})
    layout = make_layout(8, jax.devices()[:1])
    feed = DeviceFeed(ArraySource(photos()), config.data, channels=3, seed=0, layout=layout)
    state = jax.eval_shape(lambda: steps.init_state(config))
    step = steps.make_train_step(config, make_task(config), feed, layout)
    program = jax.make_jaxpr(step)(state, feed.constants, feed.inputs(0, 1))
    found = precisions(program.jaxpr)
    assert len(found) > 3 * 17
    assert set(found) == {expected}


def test_the_protocol_names_it_unless_it_is_the_default():
    noise, evaluation = corruptions.parse('gaussian:25'), Config().eval
    words = protocol_text.in_words(evaluation, ModelConfig(), noise, replicas=1)
    assert 'precision' not in words
    exact = protocol_text.in_words(evaluation, ModelConfig(precision='highest'), noise, replicas=1)
    assert exact == words + '; highest precision'
