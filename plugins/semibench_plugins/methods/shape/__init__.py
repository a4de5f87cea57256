"""Methods that learn a signed distance map beside the segmentation."""
