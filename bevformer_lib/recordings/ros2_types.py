"""ROS 2's message types as far as recordings are written with them; a recording carries them along.

Source: the .msg files of common_interfaces and geometry2 (ROS 2 Jazzy), without their comments.
"""

from __future__ import annotations

from typing import Final

_TIME: Final = "int32 sec\nuint32 nanosec\n"
_HEADER: Final = "builtin_interfaces/Time stamp\nstring frame_id\n"
_VECTOR3: Final = "float64 x\nfloat64 y\nfloat64 z\n"
_QUATERNION: Final = "float64 x 0\nfloat64 y 0\nfloat64 z 0\nfloat64 w 1\n"
_STAMPED: Final = {"builtin_interfaces/Time": _TIME, "std_msgs/Header": _HEADER}
_RIGID: Final = {**_STAMPED, "geometry_msgs/Vector3": _VECTOR3, "geometry_msgs/Quaternion": _QUATERNION}
_REGION: Final = "uint32 x_offset\nuint32 y_offset\nuint32 height\nuint32 width\nbool do_rectify\n"


def _definition(fields: str, parts: dict[str, str]) -> str:
    """Return a type with the types that it is made of, in the form that MCAP files hold."""
    return fields + "".join(f"{'=' * 80}\nMSG: {name}\n{content}" for name, content in parts.items())


COMPRESSED_IMAGE: Final = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO: Final = "sensor_msgs/msg/CameraInfo"
TF_MESSAGE: Final = "tf2_msgs/msg/TFMessage"
ODOMETRY: Final = "nav_msgs/msg/Odometry"
IMU: Final = "sensor_msgs/msg/Imu"

DEFINITIONS: Final = {
    COMPRESSED_IMAGE: _definition("std_msgs/Header header\nstring format\nuint8[] data\n", _STAMPED),
    CAMERA_INFO: _definition(
        "std_msgs/Header header\nuint32 height\nuint32 width\nstring distortion_model\nfloat64[] d\nfloat64[9] k\n"
        "float64[9] r\nfloat64[12] p\nuint32 binning_x\nuint32 binning_y\nsensor_msgs/RegionOfInterest roi\n",
        {**_STAMPED, "sensor_msgs/RegionOfInterest": _REGION},
    ),
    TF_MESSAGE: _definition(
        "geometry_msgs/TransformStamped[] transforms\n",
        {
            "geometry_msgs/TransformStamped": "std_msgs/Header header\nstring child_frame_id\n"
            "geometry_msgs/Transform transform\n",
            "geometry_msgs/Transform": "geometry_msgs/Vector3 translation\ngeometry_msgs/Quaternion rotation\n",
            **_RIGID,
        },
    ),
    ODOMETRY: _definition(
        "std_msgs/Header header\nstring child_frame_id\ngeometry_msgs/PoseWithCovariance pose\n"
        "geometry_msgs/TwistWithCovariance twist\n",
        {
            "geometry_msgs/PoseWithCovariance": "geometry_msgs/Pose pose\nfloat64[36] covariance\n",
            "geometry_msgs/Pose": "geometry_msgs/Point position\ngeometry_msgs/Quaternion orientation\n",
            "geometry_msgs/Point": _VECTOR3,
            "geometry_msgs/TwistWithCovariance": "geometry_msgs/Twist twist\nfloat64[36] covariance\n",
            "geometry_msgs/Twist": "geometry_msgs/Vector3 linear\ngeometry_msgs/Vector3 angular\n",
            **_RIGID,
        },
    ),
    IMU: _definition(
        "std_msgs/Header header\ngeometry_msgs/Quaternion orientation\nfloat64[9] orientation_covariance\n"
        "geometry_msgs/Vector3 angular_velocity\nfloat64[9] angular_velocity_covariance\n"
        "geometry_msgs/Vector3 linear_acceleration\nfloat64[9] linear_acceleration_covariance\n",
        _RIGID,
    ),
}
