# The names that `semibench.blocks` exports, each listed here and nowhere else.
from .anatomy import (
    AnatomyEncoder as AnatomyEncoder,
    round_straight_through as round_straight_through,
)
from .beta_boxes import (
    beta_box_mask as beta_box_mask,
)
from .class_balance import (
    class_counts as class_counts,
    inverse_frequency as inverse_frequency,
)
from .colour import (
    colour_jitter as colour_jitter,
)
from .components import (
    largest_component as largest_component,
    signed_distance as signed_distance,
)
from .confident import (
    confident_cross_entropy as confident_cross_entropy,
)
from .datasets.dicom_series import (
    read_dicom_series as read_dicom_series,
)
from .datasets.file_dataset import (
    FileDataset as FileDataset,
)
from .datasets.file_patterns import (
    RASTER_ENDINGS as RASTER_ENDINGS,
    CaseFiles as CaseFiles,
    FilePattern as FilePattern,
    image_and_mask_patterns as image_and_mask_patterns,
)
from .datasets.flat_folders import (
    MASK_FOLDERS as MASK_FOLDERS,
    pair_image_folders as pair_image_folders,
)
from .datasets.hdf5_files import (
    read_h5 as read_h5,
    read_h5_volume as read_h5_volume,
)
from .datasets.id_lists import (
    read_id_list as read_id_list,
    read_packaged_table as read_packaged_table,
    read_split_roles as read_split_roles,
)
from .datasets.image_dataset import (
    ImageDataset as ImageDataset,
    ImageEntry as ImageEntry,
    ImageOptions as ImageOptions,
)
from .datasets.intensity import (
    IMAGENET_MEAN as IMAGENET_MEAN,
    IMAGENET_STD as IMAGENET_STD,
    imagenet_normalised as imagenet_normalised,
    intensity_window as intensity_window,
    scale_percentiles as scale_percentiles,
    scale_to_unit as scale_to_unit,
    z_score as z_score,
)
from .datasets.itk_files import (
    metaimage_data_file as metaimage_data_file,
    read_metaimage as read_metaimage,
    read_nrrd as read_nrrd,
)
from .datasets.nifti_files import (
    read_nifti as read_nifti,
    read_nifti_lps as read_nifti_lps,
)
from .datasets.npz_files import (
    npz_keys as npz_keys,
    read_npz as read_npz,
)
from .datasets.official_layout import (
    candidate_folders as candidate_folders,
    find_data_folder as find_data_folder,
    first_folder as first_folder,
    layout_error as layout_error,
)
from .datasets.pattern_dataset import (
    PatternDataset as PatternDataset,
)
from .datasets.phantom_dataset import (
    Drawing as Drawing,
    Normalise as Normalise,
    PhantomDataset as PhantomDataset,
)
from .datasets.published_lists import (
    half_of_groups as half_of_groups,
    IdSplit as IdSplit,
    PublishedLists as PublishedLists,
    SplitRules as SplitRules,
)
from .datasets.raster_files import (
    image_files as image_files,
    merge_masks as merge_masks,
    read_colour as read_colour,
    read_grey as read_grey,
    read_mask as read_mask,
    without_image_ending as without_image_ending,
)
from .datasets.small_tables import (
    read_table as read_table,
    unused_rows as unused_rows,
)
from .datasets.stored_pictures import (
    picture_kind as picture_kind,
    read_stored_picture as read_stored_picture,
)
from .datasets.volume_dataset import (
    PreparedVolume as PreparedVolume,
    Scaling as Scaling,
    VolumeDataset as VolumeDataset,
    VolumeEntry as VolumeEntry,
    VolumeOptions as VolumeOptions,
)
from .datasets.volume_files import (
    map_labels as map_labels,
    Volume as Volume,
    z_first as z_first,
)
from .datasets.working_grid import (
    Box as Box,
    case_on_grid as case_on_grid,
    centred_box as centred_box,
    crop_or_pad as crop_or_pad,
    foreground_box as foreground_box,
    Interpolation as Interpolation,
    resize_image as resize_image,
    resize_label as resize_label,
    scaled_spacing as scaled_spacing,
)
from .declared_metrics import (
    declared_metrics as declared_metrics,
)
from .difficulty import (
    ClassDifficulty as ClassDifficulty,
)
from .diffusion import (
    LabelDiffusion as LabelDiffusion,
)
from .distance_maps import (
    distance_maps as distance_maps,
)
from .distances import (
    EmptyMaskError as EmptyMaskError,
    surface_distances as surface_distances,
    SurfaceDistances as SurfaceDistances,
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
from .drawing.fields import (
    Contour as Contour,
    FloatArray as FloatArray,
    random_stream as random_stream,
    ridge as ridge,
    smooth_field as smooth_field,
    soft_step as soft_step,
    spline_basis as spline_basis,
    Wave as Wave,
)
from .drawing.shapes import (
    deform_points as deform_points,
    ellipsoid as ellipsoid,
    grid_points as grid_points,
    Point as Point,
    Points as Points,
    random_rotation as random_rotation,
    rotate_points as rotate_points,
    shape_union as shape_union,
    tube as tube,
)
from .domain_range import (
    IntensityRange as IntensityRange,
)
from .features import (
    FeatureDropout as FeatureDropout,
    FeatureNoise as FeatureNoise,
)
from .frequency_weighted import (
    frequency_weighted_loss as frequency_weighted_loss,
)
from .group_order import (
    hash_order as hash_order,
)
from .groups import (
    group_table_paths as group_table_paths,
    read_group_table as read_group_table,
)
from .image_pool import (
    ImagePool as ImagePool,
)
from .image_translation import (
    absolute_error as absolute_error,
    add_change as add_change,
    discriminator_loss as discriminator_loss,
    least_squares as least_squares,
    PatchDiscriminator as PatchDiscriminator,
    residual_blocks as residual_blocks,
    ResidualBlock as ResidualBlock,
    start_from_normal as start_from_normal,
    TranslationGenerator as TranslationGenerator,
)
from .inner import (
    inner_step as inner_step,
    three_domains as three_domains,
)
from .intensity_range import (
    image_range as image_range,
    ImageRange as ImageRange,
)
from .losses import (
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
    Supervision as Supervision,
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
    RatioLaw as RatioLaw,
)
from .metrics import (
    DISTANCES as DISTANCES,
    OVERLAPS as OVERLAPS,
    UNITS as UNITS,
    class_metrics as class_metrics,
    Overlap as Overlap,
    overlap as overlap,
)
from .modality import (
    Code as Code,
    code_kl as code_kl,
    content_rank as content_rank,
    hsic as hsic,
    ModalityEncoder as ModalityEncoder,
)
from .modes import (
    evaluating as evaluating,
    without_dropout as without_dropout,
)
from .modulated_decoder import (
    ModulatedDecoder as ModulatedDecoder,
    Modulation as Modulation,
)
from .network_norm import (
    norm_of as norm_of,
)
from .normalisation import (
    exchange_batch_norm as exchange_batch_norm,
    Norm as Norm,
)
from .running_statistics import (
    estimate_statistics as estimate_statistics,
    frozen_statistics as frozen_statistics,
)
from .scored_teacher import (
    ScoredTeacher as ScoredTeacher,
)
from .seeds import (
    derive_seed as derive_seed,
    seeded_generator as seeded_generator,
)
from .separate_passes import (
    whole_and_changed as whole_and_changed,
)
from .smoothing import (
    blur3 as blur3,
    gumbel_blur as gumbel_blur,
)
from .strong_views import (
    gaussian_blur as gaussian_blur,
    strong_view as strong_view,
)
from .student_teacher import (
    StudentTeacher as StudentTeacher,
)
from .styles import (
    adain as adain,
    mix_amplitude as mix_amplitude,
)
from .surface_dice import (
    surface_dice as surface_dice,
)
from .teacher import (
    Teacher as Teacher,
)
from .views import (
    apply_geometry as apply_geometry,
    draw_geometry as draw_geometry,
    Geometry as Geometry,
    resample as resample,
    weak_view as weak_view,
)
from .vmf_kernels import (
    fit_vmf_mixture as fit_vmf_mixture,
    VMFKernels as VMFKernels,
)
from .wasserstein import (
    clip_weights as clip_weights,
    gradient_penalty as gradient_penalty,
)
from .weak_intensity import (
    weak_intensity as weak_intensity,
)

__all__: list[str]
