import pytest
import torch

from sklearn_bcl._random import isolated_rng, seed_from

CPU = torch.device("cpu")


def test_isolated_rng():
    state = torch.get_rng_state()
    draws = []
    for _ in range(2):
        with isolated_rng(3, CPU):
            draws.append(torch.rand(3))
    assert torch.equal(*draws)
    assert torch.equal(torch.get_rng_state(), state)


def test_seed_from():
    generator = torch.Generator().manual_seed(0)
    seeds = [seed_from(generator) for _ in range(3)]
    assert len(set(seeds)) == 3
    assert seed_from(torch.Generator().manual_seed(0)) == seeds[0]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_seed_from_a_gpu_s_generator():
    generator = torch.Generator("cuda").manual_seed(0)
    seeds = [seed_from(generator) for _ in range(3)]
    assert len(set(seeds)) == 3
    assert seed_from(torch.Generator("cuda").manual_seed(0)) == seeds[0]
