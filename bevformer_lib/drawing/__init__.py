"""Images and videos of detections: boxes in the cameras, boxes from above. Pixels are BGR, as in OpenCV."""
