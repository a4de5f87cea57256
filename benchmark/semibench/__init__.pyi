# The names that `semibench` exports, each listed here and nowhere else.
from .contracts.backbone import (
    Backbone as Backbone,
    BackboneOptions as BackboneOptions,
    Backbones as Backbones,
    Decoder as Decoder,
)
from .contracts.cards import (
    API as API,
    OLDEST_API as OLDEST_API,
    BackboneCard as BackboneCard,
    Card as Card,
    CommandCard as CommandCard,
    ConventionCard as ConventionCard,
    DatasetCard as DatasetCard,
    EngineCard as EngineCard,
    GeneratorCard as GeneratorCard,
    ListenerCard as ListenerCard,
    MethodCard as MethodCard,
    ProtocolCard as ProtocolCard,
    RecipeCard as RecipeCard,
    SplitCard as SplitCard,
    SuiteCard as SuiteCard,
    WeightFile as WeightFile,
)
from .contracts.cases import (
    Case as Case,
    CaseRef as CaseRef,
    Dataset as Dataset,
    DatasetOptions as DatasetOptions,
    Frame as Frame,
    LayoutProblem as LayoutProblem,
    PhantomOptions as PhantomOptions,
    PublishedSplits as PublishedSplits,
    Remark as Remark,
    Split as Split,
    Truth as Truth,
)
from .contracts.engine import (
    Engine as Engine,
    EngineOptions as EngineOptions,
    Job as Job,
    Outcome as Outcome,
)
from .contracts.errors import (
    BusyError as BusyError,
    CaseError as CaseError,
    DivergedError as DivergedError,
    IdentityError as IdentityError,
    LayoutError as LayoutError,
    PluginError as PluginError,
    SemibenchError as SemibenchError,
    UnknownNameError as UnknownNameError,
    UnsupportedError as UnsupportedError,
    UsageError as UsageError,
)
from .contracts.generator import (
    Curated as Curated,
    Fitted as Fitted,
    Generator as Generator,
    GeneratorOptions as GeneratorOptions,
    Progress as Progress,
)
from .contracts.identity import (
    NUMERICS as NUMERICS,
    Entry as Entry,
    Frozen as Frozen,
    Part as Part,
    Replicate as Replicate,
    RunSpec as RunSpec,
    Score as Score,
    Track as Track,
)
from .contracts.method import (
    IGNORE as IGNORE,
    Batch as Batch,
    Losses as Losses,
    Method as Method,
    MethodOptions as MethodOptions,
    Optimise as Optimise,
    Optimiser as Optimiser,
    Pools as Pools,
    Samples as Samples,
    Task as Task,
    tunable as tunable,
)
from .contracts.metric import (
    Convention as Convention,
    Inference as Inference,
    Metric as Metric,
)
from .contracts.protocol import (
    Catalog as Catalog,
    DrawProtocol as DrawProtocol,
    ProtocolOptions as ProtocolOptions,
    Synthesis as Synthesis,
)
from .contracts.recipe import (
    Confidence as Confidence,
    Recipe as Recipe,
    StrongPolicy as StrongPolicy,
    WeakPolicy as WeakPolicy,
)
from .contracts.schedule import (
    Clock as Clock,
    Ramp as Ramp,
    Stage as Stage,
    Stream as Stream,
    Term as Term,
)
from .files import (
    write_atomically as write_atomically,
)
from .discovery.hookspecs import (
    hookimpl as hookimpl,
)

__version__: str
__all__: list[str]
