"""nuScenes: its tables to scene folders, and detections to its results file (needs nuscenes-devkit)."""
