"""A process of a run that several share, for `test_devices.py`: the tiny run of conftest.py into the folder given."""

import sys
from pathlib import Path

from jaxssd.training.devices import data_mesh, describe, join_processes

if __name__ == "__main__":
    join_processes()
    from jaxssd.training import RunFolder, evaluate, make_validate, restore, train
    from tests.training.conftest import make_tiny_sets, tiny

    run = RunFolder(Path(sys.argv[1]))
    config, (train_set, val_set) = tiny(), make_tiny_sets()
    run.create(config)
    train(config, train_set, val_set, run)
    _, task, variables = restore(run, mesh=data_mesh())
    result = evaluate(task, make_validate(task), variables, val_set, batch_size=5)
    print(f"{describe(data_mesh())}: {len(result.answers.scores)} images, loss {result.loss.total.mean():.6f}")
