"""How fast is it? Ratios of times, each of two things measured side by side.

    python examples/benchmarks/speed.py
    python examples/benchmarks/speed.py --only loss step --threads 1

prints a Markdown table: the median of the ratios of `--repeats` rounds, and their
quartiles. In each round both are measured, one after the other, so that other load on
the machine affects both. A ratio of 0.5 means half the time of what it is against.
Memory is what a process of its own takes beside the data, on Linux. Lines of a GPU are
empty where there is none.

UMAP needs the extra ``benchmark``, crops of images the extra ``vision``, and lightly's
loss the package lightly; where they are missing, their lines are left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import torch
from scipy import sparse
from sklearn.datasets import load_digits, make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from torch import Tensor, nn
from torch.nn import functional as F

from sklearn_bcl import BCLEmbedder
from sklearn_bcl.augmentations import FeatureCorruption, ImageAugmentation
from sklearn_bcl.bayes import importance_weights
from sklearn_bcl.encoders import MLPEncoder, ProjectedEncoder
from sklearn_bcl.losses import BCLLoss, NTXentLoss

Line = tuple[str, str, str, str]
PRIORS = {"alpha": 0.9, "beta": 0.5, "tau_plus": 0.1}
SIZE = 128  # of projections


def ratio(
    one: Callable[[], Any], other: Callable[[], Any], repeats: int
) -> tuple[float, str]:
    """Return the median of time(one) / time(other), and it with its quartiles."""
    return ratios(one, {"": other}, repeats)[""]


def ratios(
    one: Callable[[], Any], others: dict[str, Callable[[], Any]], repeats: int
) -> dict[str, tuple[float, str]]:
    """Return `ratio` to each of several others, all measured in the same rounds."""
    for function in (one, *others.values()):
        function()  # what only a first call does
    rounds: dict[str, list[float]] = {name: [] for name in others}
    for _ in range(repeats):
        first = seconds_of(one)
        for name, other in others.items():
            rounds[name].append(first / seconds_of(other))
    return {name: summary_of(values) for name, values in rounds.items()}


def seconds_of(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def summary_of(values: list[float]) -> tuple[float, str]:
    median = statistics.median(values)
    if len(values) < 3:
        return median, f"{median:.2f}"
    low, _, high = statistics.quantiles(values, n=4)
    return median, f"{median:.2f} ({low:.2f} to {high:.2f})"


def line(section: str, one: str, other: str, of_times: tuple[float, str]) -> Line:
    return section, one, other, of_times[1]


# Loss


def minimal_ntxent(z1: Tensor, z2: Tensor) -> Tensor:
    z = F.normalize(torch.cat([z1, z2]), dim=1)
    similarity = z @ z.T / 0.5
    own = torch.eye(len(z), dtype=torch.bool, device=z.device)
    similarity = similarity.masked_fill(own, -torch.inf)
    positive = torch.arange(len(z), device=z.device).roll(len(z1))
    return F.cross_entropy(similarity, positive)


def all_pairs_loss(z1: Tensor, z2: Tensor) -> Tensor:
    """BCL as in the paper's code: ranks from the comparison of all pairs."""
    n = len(z1)
    z = F.normalize(torch.cat([z1, z2]), dim=1)
    own = torch.eye(2 * n, dtype=torch.bool)
    similarity = z @ z.T
    scores = similarity[~(own | own.roll(n, 0))].view(2 * n, 2 * n - 2)
    p = (scores[:, :, None] >= scores[:, None, :]).float().mean(dim=2)
    weights = torch.from_numpy(importance_weights(p, **PRIORS)).float()
    positive = (similarity.diagonal(n).repeat(2) / 0.5).exp()
    negatives = (weights * (scores / 0.5).exp()).sum(dim=1)
    return -(positive / (positive + negatives)).log().mean()


def views(n_rows: int, device: str = "cpu") -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    z1, noise = torch.randn(2, n_rows, SIZE, generator=generator)
    z2 = (z1 + 0.5 * noise).to(device)
    return z1.to(device).requires_grad_(), z2.requires_grad_()


def forward_and_backward(loss: Callable[..., Tensor], z1: Tensor, z2: Tensor) -> None:
    torch.autograd.grad(loss(z1, z2), (z1, z2))


def losses(repeats: int) -> Iterator[Line]:
    minimal = "minimal NT-Xent"
    for n_rows in (256, 1024):
        pair = views(n_rows)
        base = partial(forward_and_backward, minimal_ntxent, *pair)
        for name, loss in (("BCLLoss", BCLLoss()), ("NTXentLoss", NTXentLoss())):
            one = partial(forward_and_backward, loss, *pair)
            of_times = ratio(one, base, 3 * repeats)
            yield line("loss", f"{name}, batch of {n_rows}", minimal, of_times)
    pair = views(256)
    one, other = (
        partial(forward_and_backward, loss, *pair)
        for loss in (all_pairs_loss, BCLLoss())
    )
    of_times = ratio(one, other, repeats)
    yield line("loss", "comparison of all pairs, 256", "BCLLoss", of_times)
    if importlib.util.find_spec("lightly"):
        from lightly.loss import NTXentLoss as LightlyLoss

        one = partial(forward_and_backward, LightlyLoss(), *pair)
        base = partial(forward_and_backward, minimal_ntxent, *pair)
        of_times = ratio(one, base, 3 * repeats)
        yield line("loss", "lightly's NTXentLoss, 256", minimal, of_times)
    unit = (2 * 2048) ** 2 * 4
    for name, loss in (("BCLLoss", BCLLoss()), (minimal, minimal_ntxent)):
        n_bytes = memory_of(partial(forward_and_backward, loss), views, 2048)
        share = f"{n_bytes / unit:.2f}"
        yield "memory", f"{name}, batch of 2048", "(2B)² × 4 bytes", share


def memory_of(
    function: Callable[..., Any], make: Callable[[int], tuple[Any, ...]], n_rows: int
) -> int:
    """Return the bytes that a function takes beside its arguments ``make(n_rows)``.

    It is their peak in a process of its own, after a first call on few rows.
    """
    context = multiprocessing.get_context("spawn")
    answer = context.SimpleQueue()
    arguments = (function, make, n_rows, torch.get_num_threads(), answer)
    process = context.Process(target=peak_memory, args=arguments)
    process.start()
    process.join()
    if process.exitcode != 0:
        raise RuntimeError("the memory could not be measured")
    return answer.get()


def peak_memory(
    function: Callable[..., Any],
    make: Callable[[int], tuple[Any, ...]],
    n_rows: int,
    n_threads: int,
    answer: SimpleQueue,
) -> None:
    torch.set_num_threads(n_threads)
    function(*make(8))
    arguments = make(n_rows)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
    before = resident("VmRSS")
    function(*arguments)
    answer.put(resident("VmHWM") - before)


def resident(name: str) -> int:
    for text in Path("/proc/self/status").read_text().splitlines():
        if text.startswith(f"{name}:"):
            return int(text.split()[1]) * 1024
    raise RuntimeError("peak memory is measured on Linux only")


# Step and fit


def table(n_rows: int, n_features: int) -> tuple[np.ndarray, np.ndarray]:
    X, y = make_classification(
        n_rows, n_features, n_informative=min(20, n_features // 2), random_state=0
    )
    return X.astype(np.float32), y


def bare_loop(
    X: np.ndarray, loss: nn.Module, n_epochs: int, device: str = "cpu"
) -> None:
    """Train the same network by a loop of one's own."""
    x, generator = torch.from_numpy(X).to(device), torch.Generator(device)
    generator.manual_seed(0)
    encoder = MLPEncoder(X.shape[1], 256)
    encoder.fit_statistics(x, np.random.RandomState(0))
    net = ProjectedEncoder(encoder, 256, SIZE, most_hidden_units=SIZE)
    net.to(device)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, weight_decay=1e-6)
    corrupt = FeatureCorruption()
    for _ in range(n_epochs):
        for rows in torch.randperm(len(x), generator=generator, device=device).split(
            256
        ):
            batch = x[rows]
            pair = [corrupt(batch, generator) for _ in range(2)]
            z1, z2 = net(torch.cat(pair)).chunk(2)
            optimizer.zero_grad()
            loss(z1, z2).backward()
            optimizer.step()


def least_products(n_features: int, n_steps: int, width: int = 256) -> None:
    """The matrix products of a step on 256 rows: forward, by weights, by inputs."""
    sizes = [(n_features, 256), (n_features, width), (width, width), (width, 256)]
    sizes += [(256, SIZE), (SIZE, SIZE)]
    products = [(512, a, b) for a, b in sizes]
    needs_input = [False, False, True, True, True, True]
    pairs = []
    for (n, a, b), is_inner in zip(products, needs_input, strict=True):
        x, w, g = torch.empty(n, a), torch.empty(a, b), torch.empty(n, b)
        pairs += [(x, w), (x.T, g)] + [(g, w.T)] * is_inner
    z = torch.empty(512, SIZE)
    pairs += [(z, z.T), (torch.empty(512, 512), z)]
    for _ in range(n_steps):
        for x, w in pairs:
            x @ w


def fit(X: Any, **parameters: Any) -> None:
    BCLEmbedder(random_state=0, **parameters).fit(X)


def steps(repeats: int) -> Iterator[Line]:
    X, _ = table(2560, 64)
    short = {"max_epochs": 2}
    plain = {**short, "bin_weight": 0.0}
    bcl, simclr = partial(fit, X, **plain), partial(fit, X, loss="simclr", **plain)
    yield line("step", "BCL", "SimCLR", ratio(bcl, simclr, repeats))
    with_bins = partial(fit, X, **short)
    yield line("step", "with bins", "without bins", ratio(with_bins, bcl, repeats))
    bare = partial(bare_loop, X, BCLLoss(), 2)
    yield line("step", "BCL", "a loop of one's own", ratio(bcl, bare, repeats))
    products = partial(least_products, 64, 20)
    yield line("step", "BCL", "its matrix products", ratio(bcl, products, repeats))
    wide = partial(fit, X, hidden_layer_sizes=(512, 512), **plain)
    products = partial(least_products, 64, 20, 512)
    other = "its matrix products"
    yield line("step", "BCL, layers of 512", other, ratio(wide, products, repeats))


def fits(repeats: int) -> Iterator[Line]:
    for n_rows, n_features in ((2000, 64), (5000, 100)):
        X, y = table(n_rows, n_features)
        others: dict[str, Callable[[], Any]] = {
            "random forest": lambda X=X, y=y: RandomForestClassifier().fit(X, y),
            "MLPClassifier": lambda X=X, y=y: MLPClassifier().fit(X, y),
        }
        if importlib.util.find_spec("umap"):
            from umap import UMAP

            others["UMAP"] = lambda X=X: UMAP(random_state=0, n_jobs=1).fit(X)
        for name, of_times in ratios(partial(fit, X), others, repeats).items():
            yield line("fit", f"default, {n_rows} × {n_features}", name, of_times)


# Images, pairs, rows


def images(repeats: int) -> Iterator[Line]:
    if not importlib.util.find_spec("kornia"):
        return
    import kornia.augmentation as K

    x, generator = torch.rand(256, 3, 32, 32), torch.Generator().manual_seed(0)
    own = ImageAugmentation(jitter=0, grayscale=0, blur=0)
    crop = nn.Sequential(
        K.RandomResizedCrop((32, 32), (0.4, 1.0)), K.RandomHorizontalFlip()
    )
    of_times = ratio(lambda: own(x, generator), lambda: crop(x), repeats)
    yield line("images", "crop and flip", "kornia's", of_times)

    class KorniaCrops(ImageAugmentation):
        def _crop_and_flip(self, x: Tensor, generator: torch.Generator) -> Tensor:
            return K.RandomResizedCrop(x.shape[2:], (0.4, 1.0))(
                K.RandomHorizontalFlip()(x)
            )

    X = np.random.default_rng(0).random((768, 28, 28), dtype=np.float32)
    one, other = (
        partial(fit, X, max_epochs=1, augmentation=augmentation())
        for augmentation in (ImageAugmentation, KorniaCrops)
    )
    name = "steps on 256 images, 28 × 28"
    yield line("images", name, "with kornia's crops", ratio(one, other, repeats))


def pairs(repeats: int) -> Iterator[Line]:
    X, _ = table(5000, 64)
    embedder = BCLEmbedder(max_epochs=1, random_state=0).fit(X)
    z = F.normalize(torch.randn(5000, SIZE), dim=1)
    one, other = partial(embedder.true_negative_proba, X), lambda: z @ z.T
    name = "true_negative_proba, 5000 × 5000"
    yield line("posterior", name, "its matrix product", ratio(one, other, repeats))


def rows(repeats: int) -> Iterator[Line]:
    X, _ = table(20_000, 64)
    embedder = BCLEmbedder(max_epochs=1, random_state=0).fit(X[:1000])
    encoder = embedder.encoder_
    with torch.no_grad():
        for n_rows, n_calls in ((1, 100), (20_000, 1)):
            x = X[:n_rows]
            tensor = torch.from_numpy(x)

            def one(x=x, n_calls=n_calls) -> None:
                for _ in range(n_calls):
                    embedder.transform(x)

            def other(tensor=tensor, n_calls=n_calls) -> None:
                for _ in range(n_calls):
                    encoder(tensor)

            name = f"transform, {n_rows} row{'s' * (n_rows > 1)}"
            yield line("rows", name, "bare forward", ratio(one, other, repeats))


# Scale


def scale(repeats: int) -> Iterator[Line]:
    seconds = []
    for n_rows in (10_000, 1_000_000):
        (X,) = dense_rows(n_rows)
        fit(X[:1000], max_epochs=1)
        start = time.perf_counter()
        fit(X, max_epochs=1)
        seconds.append(time.perf_counter() - start)
    exponent = np.log(seconds[1] / seconds[0]) / np.log(100)
    yield "scale", "epoch of 1,000,000 rows", "of 10,000: exponent", f"{exponent:.2f}"
    n_bytes = memory_of(partial(fit, max_epochs=1), dense_rows, 1_000_000)
    yield "memory", "epoch of 1,000,000 × 64", "above the data", megabytes(n_bytes)


def sparse_fits(repeats: int) -> Iterator[Line]:
    (X,) = sparse_rows(5_000)
    one = partial(fit, X, max_epochs=1, augmentation=DenseCorruption())
    of_times = ratio(one, partial(fit, X, max_epochs=1), max(1, repeats // 3))
    name = "5,000 × 20,000 at 0.5 %, batches made dense"
    yield line("sparse", name, "kept sparse", of_times)
    (X,) = sparse_rows(20_000)
    start = time.perf_counter()
    fit(X, max_epochs=1)
    per_second = f"{X.shape[0] / (time.perf_counter() - start):.0f}"
    yield "sparse", "20,000 × 20,000 at 0.5 %", "rows a second", per_second
    n_bytes = memory_of(partial(fit, max_epochs=1), sparse_rows, 100_000)
    name = "epoch of 100,000 × 20,000 at 0.5 %"
    yield "memory", name, "above the data", megabytes(n_bytes)


class DenseCorruption(FeatureCorruption):
    """A class of its own, for which batches are made dense."""


def sparse_rows(n_rows: int) -> tuple[Any]:
    """Return rows of 100 values in random columns of 20,000, made in little memory."""
    generator = np.random.default_rng(0)
    columns = generator.integers(200, size=(n_rows, 100), dtype=np.int32)
    columns += 200 * np.arange(100, dtype=np.int32)
    values = generator.random(columns.size, dtype=np.float32)
    starts = np.arange(n_rows + 1, dtype=np.int32) * 100
    return (sparse.csr_array((values, columns.ravel(), starts), (n_rows, 20_000)),)


def dense_rows(n_rows: int) -> tuple[np.ndarray]:
    return (np.random.default_rng(0).random((n_rows, 64), dtype=np.float32),)


def megabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:.0f} MB"


def gpu(repeats: int) -> Iterator[Line]:
    """Yield lines of a CUDA device; without one, they are empty."""
    X, _ = table(20_000, 64)
    images = np.random.default_rng(0).random((2560, 28, 28), dtype=np.float32)
    wide = {"hidden_layer_sizes": (2048, 2048), "batch_size": 2048, "max_epochs": 2}
    minimal, own, on_cpu = "minimal NT-Xent", "a loop of one's own", "on the CPU"
    cases: list[tuple[str, str, Callable[[int], tuple[float, str]]]] = [
        ("BCLLoss, batch of 256", minimal, partial(losses_on_gpu, 256)),
        ("BCLLoss, batch of 4,096", minimal, partial(losses_on_gpu, 4096)),
        ("step, BCL", own, partial(loops_on_gpu, X)),
        ("default fit, 2,000 × 64", on_cpu, partial(fits_on_gpu, X[:2000], {})),
        (
            "fit, 20,000 × 64, 5 epochs",
            on_cpu,
            partial(fits_on_gpu, X, {"max_epochs": 5}),
        ),
        (
            "fit, 20,000 × 64, 2 epochs, layers and batches of 2,048",
            on_cpu,
            partial(fits_on_gpu, X, wide),
        ),
        (
            "fit, 2,560 images of 28 × 28, 2 epochs",
            on_cpu,
            partial(fits_on_gpu, images, {"max_epochs": 2}),
        ),
        ("transform, 20,000 × 64", on_cpu, partial(calls_on_gpu, "transform", X)),
        (
            "true_negative_proba, 5,000 × 5,000",
            on_cpu,
            partial(calls_on_gpu, "true_negative_proba", X[:5000]),
        ),
    ]
    for name, other, measure in cases:
        measured = "–"
        if torch.cuda.is_available():
            _, measured = measure(repeats)
        yield "gpu", name, other, measured


def losses_on_gpu(n_rows: int, repeats: int) -> tuple[float, str]:
    pair = views(n_rows, "cuda")
    calls = [
        partial(on_gpu, forward_and_backward, loss, *pair)
        for loss in (BCLLoss().cuda(), minimal_ntxent)
    ]
    return ratio(*calls, 3 * repeats)


def on_gpu(function: Callable[..., Any], *arguments: Any, n_calls: int = 20) -> None:
    for _ in range(n_calls):
        function(*arguments)
    torch.cuda.synchronize()


def loops_on_gpu(X: np.ndarray, repeats: int) -> tuple[float, str]:
    ours = partial(fit, X, max_epochs=2, bin_weight=0.0, device="cuda")
    own = partial(on_gpu, bare_loop, X, BCLLoss().cuda(), 2, "cuda", n_calls=1)
    return ratio(ours, own, repeats)


def fits_on_gpu(
    X: np.ndarray, settings: dict[str, Any], repeats: int
) -> tuple[float, str]:
    calls = [partial(fit, X, device=device, **settings) for device in ("cuda", "cpu")]
    return ratio(*calls, max(1, repeats // 2))


def calls_on_gpu(method: str, X: np.ndarray, repeats: int) -> tuple[float, str]:
    calls = []
    for device in ("cuda", "cpu"):
        embedder = BCLEmbedder(max_epochs=1, random_state=0, device=device)
        calls.append(partial(getattr(embedder.fit(X[:1000]), method), X))
    return ratio(*calls, repeats)


def serving(repeats: int) -> Iterator[Line]:
    """Yield lines of calls while another thread fits, and alone."""
    X, _ = table(2000, 64)
    embedder = BCLEmbedder(max_epochs=1, random_state=0).fit(X)
    calls: dict[str, Callable[[], Any]] = {
        "score": lambda: embedder.score(X),
        "transform": lambda: embedder.transform(X),
    }
    stop = threading.Event()

    def refit() -> None:
        while not stop.is_set():
            fit(X, max_epochs=5)

    for name, call in calls.items():
        alone = [seconds_of(call) for _ in range(3 * repeats)]
        stop.clear()
        thread = threading.Thread(target=refit)
        thread.start()
        during = [seconds_of(call) for _ in range(3 * repeats)]
        stop.set()
        thread.join()
        values = [one / statistics.median(alone) for one in during]
        yield line("serving", f"{name} during a refit", "alone", summary_of(values))


def grids(repeats: int) -> Iterator[Line]:
    X, y = load_digits(return_X_y=True)
    pipeline = make_pipeline(
        BCLEmbedder(max_epochs=5, random_state=0),
        LogisticRegression(max_iter=1000),
    )
    grid = {"bclembedder__tau_plus": [0.05, 0.1], "bclembedder__alpha": [0.7, 0.9]}
    searches = [
        GridSearchCV(pipeline, grid, cv=3, refit=False, n_jobs=n_jobs)
        for n_jobs in (1, 2)
    ]
    one, two = (partial(search.fit, X, y) for search in searches)
    of_times = ratio(one, two, max(1, repeats // 3))
    yield line("search", "n_jobs=1", "n_jobs=2", of_times)


def imports(repeats: int) -> Iterator[Line]:
    def seconds(statement: str) -> float:
        code = f"import time; s = time.perf_counter(); {statement}; "
        # Else a garbage collection may fall into an import, by chance.
        code = f"import gc, torch, sklearn.pipeline, skorch; gc.collect(); {code}"
        code += "print(time.perf_counter() - s)"
        command = [sys.executable, "-c", code]
        answer = subprocess.run(command, capture_output=True, check=True, env=environ)
        return float(answer.stdout)

    # With compiled files, as from the second import on.
    environ = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    seconds("import sklearn_bcl")
    taken = statistics.median(seconds("import sklearn_bcl") for _ in range(repeats))
    yield "import", "sklearn_bcl", "after torch, skorch", f"{taken * 1e3:.0f} ms"


SECTIONS: dict[str, Callable[[int], Iterator[Line]]] = {
    "loss": losses,
    "step": steps,
    "fit": fits,
    "images": images,
    "posterior": pairs,
    "rows": rows,
    "serving": serving,
    "scale": scale,
    "sparse": sparse_fits,
    "search": grids,
    "import": imports,
    "gpu": gpu,
}


def processor() -> str:
    path = Path("/proc/cpuinfo")
    text = path.read_text() if path.exists() else ""
    features = [name for name in ("avx2", "avx512f") if f" {name} " in text]
    return f"{platform.machine()} {' '.join(features)}".strip()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(
        f"{processor()}, {os.cpu_count()} cores, {arguments.threads} threads, torch "
        f"{torch.__version__}, scikit-learn {sklearn.__version__}, numpy "
        f"{np.__version__}"
    )
    if torch.cuda.is_available():
        print(f"GPU: {torch.cuda.get_device_name()}")
    print()
    print("| section | time of | against | ratio (quartiles) |")
    print("| --- | --- | --- | --- |")
    for name in arguments.only:
        for cells in SECTIONS[name](arguments.repeats):
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
