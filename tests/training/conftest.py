"""One tiny run, shared by the tests that only look at what it left."""

from dataclasses import replace

import jax
import pytest

from jaxssd.config import Config
from jaxssd.data.load import with_classes
from jaxssd.data.shapes import make_shapes
from jaxssd.training import RunFolder, train
from tests.sharing import register_small_backbones

register_small_backbones()
# Compiling takes nearly all of the time: one stage of narrow layers, and one grid of anchors.
TINY = Config.of(
    image_size=32,
    backbone="resnet_micro",
    grids=(4,),
    zooms=(1.5,),
    ratios=((1.0, 1.0),),
    head_width=8,
    input_dropout=0.1,
    dropout=0.1,
    epochs=(3,),
    batch_size=8,
    learning_rate=(3e-3,),
    seed=1,  # its best checkpoint is not its last
)


@pytest.fixture(scope="session")
def tiny_config():
    return replace(TINY, dataset=with_classes(TINY.dataset))


@pytest.fixture(scope="session")
def tiny_sets():
    """20 images to train on, which is two batches and a half, and 12 to validate on."""
    return make_shapes(20, image_size=32, seed=0), make_shapes(12, image_size=32, seed=1)


@pytest.fixture(scope="session")
def finished_run(tiny_config, tiny_sets, tmp_path_factory):
    run = RunFolder(tmp_path_factory.mktemp("run"))
    run.create(tiny_config)
    train(tiny_config, *tiny_sets, run)
    return run


@pytest.fixture(scope="module", autouse=True)
def _shared_programs(shared_programs):
    """Runs with equal settings share one traced program."""


@pytest.fixture
def compilations():
    """The names of the events that JAX reports when it compiles anything, from now on."""
    seen, on = [], [True]

    def listen(event, duration, **_):
        if on[0] and event.endswith("backend_compile_duration"):
            seen.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield seen
    on[0] = False
