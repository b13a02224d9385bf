"""NDS and mAP, as nuScenes defines them."""
