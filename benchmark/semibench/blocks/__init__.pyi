# The names that `semibench.blocks` exports, each listed here and nowhere else.
from .colour import (
    colour_jitter as colour_jitter,
)
from .components import (
    largest_component as largest_component,
    signed_distance as signed_distance,
)
from .difficulty import (
    ClassDifficulty as ClassDifficulty,
)
from .diffusion import (
    LabelDiffusion as LabelDiffusion,
)
from .distances import (
    EmptyMaskError as EmptyMaskError,
    SurfaceDistances as SurfaceDistances,
    surface_distances as surface_distances,
)
from .divergences import (
    entropy as entropy,
    js_divergence as js_divergence,
    kl_divergence as kl_divergence,
    log_mean_softmax as log_mean_softmax,
    softmax_mse as softmax_mse,
    voxel_entropy as voxel_entropy,
    voxel_kl as voxel_kl,
)
from .features import (
    FeatureDropout as FeatureDropout,
    FeatureNoise as FeatureNoise,
)
from .group_order import (
    hash_order as hash_order,
)
from .groups import (
    group_table_paths as group_table_paths,
    read_group_table as read_group_table,
)
from .inner import (
    inner_step as inner_step,
)
from .losses import (
    Supervision as Supervision,
    bce_dice as bce_dice,
    cross_entropy as cross_entropy,
    dice_between as dice_between,
    dice_ce as dice_ce,
    masked_cross_entropy as masked_cross_entropy,
    masked_dice as masked_dice,
    masked_mean as masked_mean,
    one_hot as one_hot,
    region_loss as region_loss,
    soft_dice as soft_dice,
    supervised_loss as supervised_loss,
    two_class_logits as two_class_logits,
)
from .mamba import (
    Mamba as Mamba,
    selective_scan as selective_scan,
)
from .masks import (
    block_mask as block_mask,
    box_mask as box_mask,
    cutmix_mask as cutmix_mask,
    paste as paste,
)
from .metrics import (
    DISTANCES as DISTANCES,
    OVERLAPS as OVERLAPS,
    Overlap as Overlap,
    UNITS as UNITS,
    class_metrics as class_metrics,
    overlap as overlap,
)
from .modes import (
    evaluating as evaluating,
)
from .seeds import (
    derive_seed as derive_seed,
    seeded_generator as seeded_generator,
)
from .smoothing import (
    blur3 as blur3,
    gumbel_blur as gumbel_blur,
)
from .strong_views import (
    gaussian_blur as gaussian_blur,
    strong_view as strong_view,
)
from .teacher import (
    Teacher as Teacher,
)
from .views import (
    Geometry as Geometry,
    apply_geometry as apply_geometry,
    draw_geometry as draw_geometry,
    resample as resample,
    weak_view as weak_view,
)

__all__: list[str]
