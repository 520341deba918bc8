"""A C++ package of somebody else: it finds pdl_ros, includes its header and messages, and crops."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

CMAKE = f"""
cmake_minimum_required(VERSION 3.16)
project(consumer CXX)
find_package(pdl_ros REQUIRED)
add_executable(consumer consumer.cpp)
target_compile_options(consumer PRIVATE -Wall -Wextra -Werror)
target_include_directories(consumer PRIVATE {ROOT}/examples/crop_things)
target_link_libraries(consumer pdl_ros::masks pdl_ros::pdl_ros__rosidl_generator_cpp)
add_executable(by_folder by_folder.cpp)
target_include_directories(by_folder PRIVATE ${{pdl_ros_INCLUDE_DIRS}})
"""

BY_FOLDER = """
#include <pdl_ros/masks.hpp>
int main() {return pdl_ros::decode_mask("bitmap", nullptr, 0, 1, 1, {}).contains(0, 0);}
"""

# Columns are what COCO counts along: 3 pixels of others, 1 of the thing, 2 of others, 2, 4.
CONSUMER = """
#include <iostream>
#include <pdl_ros/masks.hpp>
#include <pdl_ros/msg/panoptic_instance_array.hpp>
#include "crop.hpp"

@documented@

int main()
{
  sensor_msgs::msg::Image image;
  image.encoding = "rgb8";
  image.height = 3;
  image.width = 4;
  image.step = 14;  // two bytes of padding
  for (int i = 0; i < 42; ++i) {image.data.push_back(i);}
  pdl_ros::msg::PanopticInstanceArray things;
  things.height = 3;
  things.width = 4;
  things.instances.resize(1);
  auto & thing = things.instances[0];
  thing.class_name = "car";
  thing.box.x_offset = 1;
  thing.box.width = 2;
  thing.box.height = 2;
  thing.mask_encoding = "coco_rle";
  const std::string counts = "31212";
  thing.mask_data.assign(counts.begin(), counts.end());
  const auto cut = crop(image, pdl_ros::decode_mask_in_box(things, thing));
  documented(things);
  std::cout << cut.width << 'x' << cut.height << ' ' << cut.encoding << ':';
  for (int value : cut.data) {std::cout << ' ' << value;}
  std::cout << '\\n';
  image.height = 1;  // a mask of other pixels than the image's
  try {
    crop(image, pdl_ros::decode_mask_in_box(things, thing));
  } catch (const std::invalid_argument & error) {
    std::cout << error.what() << '\\n';
  }
}
"""


def documented() -> str:
    """Return the code of docs/using_results.md as a function."""
    page = (ROOT / 'docs' / 'using_results.md').read_text(encoding='utf-8')
    (code,) = re.findall(r'```cpp\n#include <pdl_ros/masks.hpp>\n(.*?)```', page, re.DOTALL)
    return f'void documented(const pdl_ros::msg::PanopticInstanceArray & things)\n{{{code}}}'


@pytest.mark.slow
def test_a_downstream_package_finds_the_header_beside_the_messages_and_crops(tmp_path):
    for name, text in {
        'CMakeLists.txt': CMAKE,
        'consumer.cpp': CONSUMER.replace('@documented@', documented()),
        'by_folder.cpp': BY_FOLDER,
    }.items():
        (tmp_path / name).write_text(text)
    env = {**os.environ, 'CMAKE_PREFIX_PATH': os.environ['AMENT_PREFIX_PATH']}
    for command in (
        ['cmake', '-S', '.', '-B', 'build', f'-DPython3_EXECUTABLE={sys.executable}'],
        ['cmake', '--build', 'build', '--parallel', '2'],
    ):
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    done = subprocess.run(tmp_path / 'build' / 'consumer', capture_output=True, text=True)
    assert done.stdout.splitlines() == [
        'Straight ahead: car',
        '2x2 rgb8: 3 4 5 6 7 8 0 0 0 20 21 22',
        'The mask is of a larger image; is output_size of the node input?',
    ]
