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
from .features import (
    FeatureDropout as FeatureDropout,
    FeatureNoise as FeatureNoise,
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
    entropy as entropy,
    js_divergence as js_divergence,
    kl_divergence as kl_divergence,
    log_mean_softmax as log_mean_softmax,
    masked_cross_entropy as masked_cross_entropy,
    masked_dice as masked_dice,
    masked_mean as masked_mean,
    one_hot as one_hot,
    region_loss as region_loss,
    soft_dice as soft_dice,
    softmax_mse as softmax_mse,
    supervised_loss as supervised_loss,
    two_class_logits as two_class_logits,
    voxel_entropy as voxel_entropy,
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
from .modes import (
    evaluating as evaluating,
)
from .smoothing import (
    blur3 as blur3,
    gumbel_blur as gumbel_blur,
)
from .teacher import (
    Teacher as Teacher,
)
from .views import (
    Geometry as Geometry,
    apply_geometry as apply_geometry,
    draw_geometry as draw_geometry,
    gaussian_blur as gaussian_blur,
    resample as resample,
    strong_view as strong_view,
    weak_view as weak_view,
)

__all__: list[str]
