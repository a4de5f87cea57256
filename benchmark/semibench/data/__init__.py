"""Data: cases, cache, views, batches. Importing this package imports nothing; use its modules.

Where files are (`semibench.data.roots`; standard library only):
    locate(name, data_root=None, *, aliases=()) -> Location      # .path (None: not found), .source, .tried, .explain()
    cache_dir() -> Path                                          # SEMIBENCH_CACHE, else ~/.cache/semibench

Identity of the data (`semibench.data.hashes`):
    data_digest(datasets, refs, *, reread=False, reporter=None) -> str
    case_content(dataset, ref, memory) -> str
    HashMemory(file=None).sha256(path, reread=False) -> str

Cases of a protocol (`semibench.data.catalog`):
    DataCatalog({name: dataset})                                 # first: the main data set; .card, .cases(), .splits()
    check_index(dataset, refs) -> None                           # raises PluginError

Decoded cases (`semibench.data.cache`):
    CaseStore.build(datasets, refs, folder=None, reporter=None) -> CaseStore
        .case(ref), .image(ref), .label(ref), .shape(ref), .restrict(refs, labels=[...])

Batches (`semibench.data.training`):
    TrainingData(split, store, *, card, recipe, dims, streams, seed, device="cpu", budget=None)
        .task, .batch(iteration), .passes(iteration), .pools, .names(pool, index)

Checks on the user's files (for `bench data verify|audit NAME`):
    semibench.data.verify.verify(dataset, *, decode=True, reread=True, reporter=None) -> list[Finding]
        Finding(level: "error" | "warning" | "note", check, case, message)
    semibench.data.audit.audit(dataset, splits=None, *, distance=8, likeness=0.8, reporter=None) -> Audit
        Audit.pairs, .rows (case, group, reason), .crossings, .summary()
    semibench.data.audit.write_group_table(audit, name, root) -> Path
    semibench.data.audit.group_table(name, root) -> dict[case id, group]
"""
