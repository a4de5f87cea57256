"""Hashes, the data digest, the catalog and the cache of decoded cases."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from support.data_toys import Filed, Procedural, card, write_cases
from support.places import with_tests

from semibench import CaseError, CaseRef, DatasetOptions, PluginError, Split, UnknownNameError
from semibench.data.cache import CaseStore
from semibench.data.catalog import DataCatalog, check_index
from semibench.data.hashes import HashMemory, data_digest
from semibench.data.shards import Shard
from semibench.data.verify import verify
from semibench.data.workers import over_all
from semibench.reporting import Reporter
from semibench.source_digest import class_digest


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEMIBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Notebook(Reporter):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.phases: list[tuple[str, int]] = []
        self.done: list[int] = []
        self.warnings: list[str] = []

    def phase(self, name: str, total: int) -> None:
        self.phases.append((name, total))

    def advance(self, done: int, values: Mapping[str, float] | None = None) -> None:
        self.done.append(done)

    def warn(self, message: str) -> None:
        self.warnings.append(message)


def aged(root: Path) -> None:
    """Set all times of files to a minute ago, so that their hashes are remembered."""
    then = time.time() - 60
    for path in root.rglob("*.npy"):
        os.utime(path, (then, then))


# --- hashes ---


def test_a_hash_is_remembered_until_size_or_time_change(tmp_path: Path) -> None:
    file = tmp_path / "x.bin"
    file.write_bytes(b"abc")
    os.utime(file, ns=(10**18, 10**18))
    memory = HashMemory()
    abc, abd = (hashlib.sha256(text).hexdigest() for text in (b"abc", b"abd"))
    assert memory.known(file) is None
    assert memory.sha256(file) == abc == memory.known(file)
    file.write_bytes(b"abd")
    os.utime(file, ns=(10**18, 10**18))
    assert memory.sha256(file) == abc, "same size and time: the memory is believed"
    assert memory.sha256(file, reread=True) == abd == memory.sha256(file)
    file.write_bytes(b"abcd")
    assert memory.known(file) is None
    assert memory.sha256(file) == hashlib.sha256(b"abcd").hexdigest()
    assert memory.known(file) is None, "written just now: it could change again within the clock's grain"


def test_the_digest_names_the_data_and_not_the_place(tmp_path: Path) -> None:
    digests = []
    for place in ("here", "there"):
        write_cases(tmp_path / place)
        dataset = Filed(tmp_path / place)
        digests.append(data_digest({"toy": dataset}, dataset.index()))
    assert digests[0] == digests[1]
    dataset = Filed(tmp_path / "here")
    assert data_digest({"toy": dataset}, reversed(dataset.index())) == digests[0]
    assert data_digest({"toy": dataset}, dataset.index()[:2]) != digests[0]
    np.save(tmp_path / "here" / "label" / "c1.npy", np.zeros((8, 6), np.uint8))
    assert data_digest({"toy": dataset}, dataset.index()) != digests[0]


def test_the_digest_is_what_its_definition_says(tmp_path: Path) -> None:
    write_cases(tmp_path, count=2)
    dataset = Filed(tmp_path)
    rows = []
    for name in ("c0", "c1"):
        hashes = [
            hashlib.sha256((tmp_path / kind / f"{name}.npy").read_bytes()).hexdigest() for kind in ("image", "label")
        ]
        content = hashlib.sha256(json.dumps(["files", *hashes], separators=(",", ":")).encode()).hexdigest()
        rows.append(["toy", name, content])
    expected = hashlib.sha256(json.dumps(rows, separators=(",", ":")).encode()).hexdigest()
    assert data_digest({"toy": dataset}, dataset.index()) == expected


def test_reread_finds_bytes_that_changed_unseen(tmp_path: Path) -> None:
    write_cases(tmp_path)
    aged(tmp_path)
    dataset = Filed(tmp_path)
    before = data_digest({"toy": dataset}, dataset.index())
    file = tmp_path / "image" / "c0.npy"
    state, data = file.stat(), bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert data_digest({"toy": dataset}, dataset.index()) == before
    assert data_digest({"toy": dataset}, dataset.index(), reread=True) != before


def test_procedural_cases_are_named_by_their_fingerprint() -> None:
    one, other = Procedural([(8, 8)] * 2), Procedural([(8, 8)] * 2)
    assert data_digest({"toy": one}, one.index()) == data_digest({"toy": other}, other.index())
    other.fingerprint = "another"
    assert data_digest({"toy": one}, one.index()) != data_digest({"toy": other}, other.index())
    other.fingerprint = None
    with pytest.raises(CaseError, match="fingerprint"):
        data_digest({"toy": other}, other.index())


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    write_cases(tmp_path)
    dataset = Filed(tmp_path)
    refs = dataset.index()
    (tmp_path / "label" / "c1.npy").unlink()
    with pytest.raises(CaseError, match=r"label/c1\.npy"):
        data_digest({"toy": dataset}, refs)


# --- the cache ---


def test_cases_come_back_digit_for_digit(tmp_path: Path) -> None:
    write_cases(tmp_path)
    dataset = Filed(tmp_path)
    store = CaseStore.build({"toy": dataset}, dataset.index())
    for ref in dataset.index():
        expected, found = dataset.read(ref), store.case(ref)
        assert torch.equal(found.image, expected.image) and found.image.dtype == torch.float32
        assert expected.label is not None and found.label is not None
        assert torch.equal(found.label, expected.label) and found.label.dtype == torch.uint8
        assert (found.spacing, found.frame, found.ref) == (expected.spacing, expected.frame, ref)
        assert store.shape(ref) == (1, 8, 6)


def test_cases_of_different_shapes_and_data_sets_share_a_store() -> None:
    volumes, images = Procedural([(5, 6, 7), (4, 4, 9)]), Procedural([(8, 8)], named=card(name="other"))
    refs = [*volumes.index(), *images.index()]
    store = CaseStore.build({"toy": volumes, "other": images}, refs)
    assert [store.shape(ref) for ref in refs] == [(1, 5, 6, 7), (1, 4, 4, 9), (1, 8, 8)]
    assert all(torch.equal(store.image(ref), d.read(ref).image) for d in (volumes, images) for ref in d.index())


def test_each_case_is_decoded_once_and_progress_is_told(tmp_path: Path) -> None:
    write_cases(tmp_path)
    dataset, notes = Filed(tmp_path), Notebook()
    refs = dataset.index()
    CaseStore.build({"toy": dataset}, refs[:1], reporter=notes)
    CaseStore.build({"toy": dataset}, refs[:2], reporter=notes)
    CaseStore.build({"toy": dataset}, refs, reporter=notes)
    CaseStore.build({"toy": dataset}, refs, reporter=notes)
    assert dataset.reads == ["c0", "c1", "c2"]
    assert [phase for phase in notes.phases if phase[0] == "decode"] == [("decode", 1)] * 3


def test_a_changed_file_and_other_options_are_decoded_again(tmp_path: Path) -> None:
    write_cases(tmp_path)
    dataset = Filed(tmp_path)
    refs = dataset.index()
    CaseStore.build({"toy": dataset}, refs)
    np.save(tmp_path / "image" / "c1.npy", np.full((8, 6), 7, np.float32))
    store = CaseStore.build({"toy": dataset}, refs)
    assert dataset.reads == ["c0", "c1", "c2", "c1"]
    assert bool((store.image(refs[1]) == 7).all())
    other = Filed(tmp_path, DatasetOptions(edition="other"))
    CaseStore.build({"toy": other}, refs)
    assert other.reads == ["c0", "c1", "c2"]


@pytest.mark.parametrize("name", ["images.f32", "labels.u8", "index.json"])
@pytest.mark.parametrize("damage", ["cut", "flip", "gone"])
def test_a_damaged_cache_is_found_and_made_again(tmp_path: Path, own_cache: Path, name: str, damage: str) -> None:
    write_cases(tmp_path)
    dataset = Filed(tmp_path)
    refs = dataset.index()
    CaseStore.build({"toy": dataset}, refs)
    (file,) = own_cache.rglob(name)
    data = bytearray(file.read_bytes())
    if damage == "gone":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(bytes(data[:-5]))
    else:
        data[len(data) // 2] ^= 1
        file.write_bytes(bytes(data))
    notes = Notebook()
    store = CaseStore.build({"toy": dataset}, refs, reporter=notes)
    assert dataset.reads == ["c0", "c1", "c2"] * 2
    assert any("damaged" in warning for warning in notes.warnings)
    assert torch.equal(store.image(refs[2]), dataset.read(refs[2]).image)
    assert len(list(own_cache.rglob("index.json"))) == 1


def test_writing_to_a_tensor_of_the_store_leaves_the_cache_alone() -> None:
    dataset = Procedural([(8, 8)])
    (ref,) = dataset.index()
    CaseStore.build({"toy": dataset}, [ref]).image(ref).zero_()
    again = CaseStore.build({"toy": dataset}, [ref])
    assert torch.equal(again.image(ref), dataset.read(ref).image) and dataset.reads == 2


def test_a_restricted_store_holds_no_other_label() -> None:
    dataset = Procedural([(8, 8)] * 3)
    a, b, c = dataset.index()
    store = CaseStore.build({"toy": dataset}, [a, b, c]).restrict([a, b], labels=[a])
    assert store.refs == (a, b) and a in store and c not in store
    assert store.has_label(a) and store.label(a) is not None
    assert not store.has_label(b) and store.case(b).label is None
    with pytest.raises(LookupError, match="hides the label"):
        store.label(b)
    with pytest.raises(LookupError, match="is not in this store"):
        store.image(c)
    with pytest.raises(LookupError, match="hides the label"):
        store.restrict([b], labels=[b]).label(b)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": torch.zeros(1, 8, 8, dtype=torch.float64)}, "float32"),
        ({"image": torch.zeros(1, 4, 8, 8)}, "2 sides"),
        ({"image": torch.full((1, 8, 8), torch.nan)}, "NaN"),
        ({"label": None}, "no label"),
        ({"label": torch.zeros(8, 7, dtype=torch.uint8)}, r"\(8, 8\)"),
        ({"label": torch.full((8, 8), 3, dtype=torch.uint8)}, "0..2"),
        ({"spacing": (1.0, -1.0)}, "positive"),
    ],
)
def test_a_case_that_breaks_its_promise_is_refused(change: dict[str, object], message: str, own_cache: Path) -> None:
    class Wrong(Procedural):
        def read(self, ref: CaseRef):  # type: ignore[no-untyped-def]
            return replace(super().read(ref), **change)

    dataset = Wrong([(8, 8)])
    with pytest.raises(CaseError, match=message):
        CaseStore.build({"toy": dataset}, dataset.index())
    assert not list(own_cache.rglob("images.f32")), "nothing of a failed decode stays"


@pytest.mark.slow
def test_processes_that_build_at_once_decode_once(tmp_path: Path, own_cache: Path) -> None:
    write_cases(tmp_path / "data", count=6)
    aged(tmp_path / "data")
    code = (
        "import os, sys, time, torch; torch.set_num_threads(1)\n"
        "from pathlib import Path\n"
        "from support.data_toys import Filed\n"
        "from semibench.data.cache import CaseStore\n"
        "class Slow(Filed):\n"
        "    def read(self, ref):\n"
        "        time.sleep(0.05)\n"
        "        return super().read(ref)\n"
        "data, answers = map(Path, sys.argv[1:])\n"
        "for number in range(3):\n"
        "    if os.fork() == 0:\n"
        "        d = Slow(data); r = d.index()\n"
        "        s = CaseStore.build({'toy': d}, r)\n"
        "        total = float(sum(s.image(x).double().sum() for x in r))\n"
        "        (answers / str(number)).write_text(f'{len(d.reads)} {total}')\n"
        "        os._exit(0)\n"
        "print([os.wait()[1] for _ in range(3)])\n"
    )
    environment = {**os.environ, "PYTHONPATH": with_tests(), "OMP_NUM_THREADS": "1"}
    (tmp_path / "answers").mkdir()
    command = [sys.executable, "-c", code, str(tmp_path / "data"), str(tmp_path / "answers")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.stdout == "[0, 0, 0]\n", done.stderr
    answers = [(tmp_path / "answers" / str(number)).read_text().split() for number in range(3)]
    assert sorted(int(reads) for reads, _ in answers) == [0, 0, 6]
    assert len({total for _, total in answers}) == 1
    assert not list(own_cache.rglob(".draft-*"))


def test_a_draft_of_a_killed_process_is_removed(own_cache: Path) -> None:
    dataset = Procedural([(8, 8)] * 2)
    refs = dataset.index()
    CaseStore.build({"toy": dataset}, refs[:1])
    (home,) = (own_cache / "cases").iterdir()
    (home / ".draft-dead").mkdir()
    CaseStore.build({"toy": dataset}, refs)
    assert not (home / ".draft-dead").exists()


@pytest.mark.slow
def test_the_revision_follows_code_and_not_comments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "packed"
    package.mkdir()
    texts = {
        "__init__": "",
        "reader": "from packed.inner import value\nclass Reader:\n    def read(self):\n        return value\n",
        "inner": "value = 1\n",
        "unrelated": "x = 1\n",
    }

    def revision(**changed: str) -> str:
        for name, text in {**texts, **changed}.items():
            (package / f"{name}.py").write_text(text)
        code = (
            "from packed.reader import Reader; from semibench.source_digest import class_digest as c; print(c(Reader))"
        )
        environment = {**os.environ, "PYTHONPATH": with_tests(tmp_path)}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    first = revision()
    assert revision(inner="value = 1  # a comment\n\n", unrelated="x = 2\n") == first
    assert revision(inner="value = 2\n") != first
    assert class_digest(Filed) != class_digest(PluginError)


# --- the catalog ---


def test_a_catalog_gives_cases_and_splits() -> None:
    main, other = Procedural([(8, 8)] * 3), Procedural([(8, 8)] * 2, named=card(name="other"))
    catalog = DataCatalog({"toy": main, "other": other})
    assert catalog.card is main.card and catalog.main == "toy"
    assert [ref.key for ref in catalog.cases()] == ["toy/000", "toy/001", "toy/002"]
    assert [ref.key for ref in catalog.cases("other")] == ["other/000", "other/001"]
    assert len(catalog.all_cases()) == 5 and catalog.splits() == {}
    with pytest.raises(UnknownNameError, match="other"):
        catalog.cases("othr")


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ([], "no case"),
        ([("a", "g", "a"), ("a", "g", "a")], "unique"),
        ([("b", "g", "a"), ("a", "g", "a")], "sorted"),
        ([("a", "", "a")], "groups"),
        ([("a", "g", "z")], "domains"),
    ],
)
def test_an_index_that_breaks_the_contract_is_refused(index: list[tuple[str, str, str]], message: str) -> None:
    dataset = Procedural([(8, 8)])
    with pytest.raises(PluginError, match=message):
        check_index(dataset, [CaseRef("toy", name, group, domain, True) for name, group, domain in index])
    with pytest.raises(PluginError, match=r"ref\.dataset"):
        check_index(dataset, [CaseRef("wrong", "a", "g", "a", True)])


def test_a_published_split_of_unknown_cases_is_refused() -> None:
    class Published(Procedural):
        def splits(self) -> Mapping[str, Split]:
            return {"official": Split((), (), (), (CaseRef("toy", "999", "g", "a", True),))}

    with pytest.raises(PluginError, match="999"):
        DataCatalog({"toy": Published([(8, 8)])}).splits()


# --- several processes ---


def in_forks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets two forks do all but the first item."""
    for module in ("cache", "verify"):
        monkeypatch.setattr(f"semibench.data.{module}.over_all", partial(over_all, worth=0.0))
    monkeypatch.setenv("OMP_NUM_THREADS", "2")


def test_two_processes_decode_to_the_same_bytes_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of a shard is a digest of all its bytes."""
    dataset = Procedural([(9, 5), (4, 8)] * 6)
    alone = CaseStore.build({"toy": dataset}, dataset.index(), tmp_path / "alone", threads=1)
    in_forks(monkeypatch)
    both = CaseStore.build({"toy": dataset}, dataset.index(), tmp_path / "both")
    assert dataset.reads == 12 + 1, "the first case is decoded here, the others in forks"
    shards = [[path.name for path in sorted((tmp_path / name).glob("*/shard-*"))] for name in ("alone", "both")]
    assert shards[0] == shards[1] != []
    for ref in dataset.index():
        one, other = alone.case(ref), both.case(ref)
        assert torch.equal(one.image, other.image) and torch.equal(one.label, other.label)
        assert (one.spacing, one.frame) == (other.spacing, other.frame)


def test_a_damaged_case_in_a_fork_is_told_like_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cases(tmp_path, 8)
    (tmp_path / "label" / "c5.npy").write_bytes(b"no array")
    dataset = Filed(tmp_path)
    said = []
    for fork in (False, True):
        if fork:
            in_forks(monkeypatch)
        with pytest.raises(CaseError, match=r"c5\.npy") as caught:
            CaseStore.build({"toy": dataset}, dataset.index())
        said.append((str(caught.value), verify(dataset)))
    assert said[0] == said[1]


def test_the_files_of_a_cache_are_checked_once_however_many_cases_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before each batch all files are looked at; a look per case would make batches slower with the size of the data set."""
    dataset = Procedural([(4, 4)] * 30)
    store = CaseStore.build({"toy": dataset}, dataset.index())
    looks: list[Shard] = []
    monkeypatch.setattr(Shard, "check_size", lambda shard: looks.append(shard))
    store.check_sizes()
    store.restrict(dataset.index()[:20]).check_sizes()
    assert len(looks) == 2
