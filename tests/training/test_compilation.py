"""What is compiled, what it takes, and what the next process finds of it."""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache.compilation_cache import reset_cache

from jaxssd.training.compilation import CACHE_FOLDER, MemoryNeed, compile_program, keep_compiled, memory_bytes, nbytes

ROOT = Path(__file__).parents[2]


def test_a_program_takes_only_what_it_was_compiled_for():
    program = compile_program(jax.jit(lambda x: x @ x), jax.ShapeDtypeStruct((8, 8), jnp.float32))
    np.testing.assert_array_equal(program.call(jnp.eye(8)), np.eye(8))
    assert program.seconds > 0
    with pytest.raises(TypeError, match=r"8,8"):
        program.call(jnp.eye(4))


def test_bytes_of_a_step_grow_with_what_it_keeps():
    def temporary(n):
        function = jax.jit(lambda x: jnp.sort(jnp.sort(x[:, None] * x[None, :], axis=0), axis=1).sum())
        return compile_program(function, jax.ShapeDtypeStruct((n,), jnp.float32)).temporary

    assert temporary(256) > 10 * temporary(64) > 0


def test_memory_is_told_with_a_way_out(monkeypatch):
    need = MemoryNeed(images=3 * 10**9, state=10**9, step=6 * 10**9)
    assert need.total == 10**10
    assert need.describe(10**10) == "memory: 10.00 GB of the device's 10.00 GB (images 3.00, state 1.00, step 6.00)"
    assert "more than there is" in need.describe(10**10 - 1)
    assert "--batch-size" in need.describe(10**10 - 1)
    assert "--remat" not in need.describe(10**10 - 1)  # which saves nothing on a processor
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert "--grad-accum-steps 2, --remat" in need.describe(10**10 - 1)
    assert 0 < nbytes({"a": jnp.zeros((2, 2)), "b": np.zeros(3, np.uint8)}) == 19 < memory_bytes()


@pytest.mark.parametrize("named", [None, "elsewhere"])
def test_the_next_process_finds_what_was_compiled(tmp_path, named):
    """In the folder of the runs, or where the environment says."""
    script = (
        "import json, sys, jax; from pathlib import Path; from jaxssd.training.compilation import keep_compiled;"
        "keep_compiled(Path(sys.argv[1])); jax.config.update('jax_persistent_cache_min_compile_time_secs', 0);"
        "hits = []; jax.monitoring.register_event_listener(lambda event, **_: hits.append(event));"
        "jax.jit(lambda x: x * 2 + 1)(3.0); print(json.dumps(hits))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    if named:
        environment["JAX_COMPILATION_CACHE_DIR"] = str(tmp_path / named)
    counts = []
    for _ in range(2):
        run = [sys.executable, "-c", script, str(tmp_path)]
        output = subprocess.run(run, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
        counts.append(sum("cache_hits" in event for event in json.loads(output.splitlines()[-1])))
    assert counts[0] == 0 < counts[1]
    assert any((tmp_path / (named or CACHE_FOLDER)).iterdir())
    assert (tmp_path / CACHE_FOLDER).exists() == (named is None)


def test_the_folder_is_left_alone_if_the_environment_has_one(monkeypatch, tmp_path):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "x")
    before = jax.config.jax_compilation_cache_dir
    keep_compiled(tmp_path)
    assert jax.config.jax_compilation_cache_dir == before


def test_a_damaged_program_is_written_again(tmp_path, monkeypatch, capsys):
    """JAX itself would compile it anew in every process, and never overwrite it."""
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # put back after the test
    before = jax.config.jax_compilation_cache_dir, jax.config.jax_persistent_cache_min_compile_time_secs
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            for damaged in (False, True, False):
                if damaged:
                    (file,) = (tmp_path / CACHE_FOLDER).glob("*-cache")
                    whole = file.read_bytes()
                    file.write_bytes(whole[: len(whole) // 2])
                keep_compiled(tmp_path)
                keep_compiled(tmp_path)  # a second call changes nothing
                reset_cache()
                jax.jit(lambda x: x * 3 + 1).lower(3.0).compile()
                said = capsys.readouterr().err
                assert said.count("is damaged") == damaged
                assert "Warning" not in said
            assert len(file.read_bytes()) == pytest.approx(len(whole), rel=0.1)  # packed anew, with another time
            (tmp_path / "file").touch()
            keep_compiled(tmp_path / "file")
            reset_cache()
            for factor in (4, 5):
                jax.jit(lambda x, factor=factor: x * factor).lower(3.0).compile()
            assert capsys.readouterr().err.count("compiled programs are not kept") == 1
    finally:
        jax.config.update("jax_compilation_cache_dir", before[0])
        jax.config.update("jax_persistent_cache_min_compile_time_secs", before[1])
        reset_cache()
