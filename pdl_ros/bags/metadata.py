"""What rosbag2 says of a recording: metadata.yaml, and its like in each file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from pdl_ros.bags.qos import OfferedQos
from pdl_ros.bags.types import DISTRO, Definition

_VERSION = 9  # of Jazzy
_NEVER = (1 << 63) - 1


@dataclass(frozen=True)
class WrittenTopic:
    """A topic of a recording that is being written. type: ``package/msg/Name``."""

    name: str
    type: str
    definition: Definition
    qos: tuple[OfferedQos, ...] = (OfferedQos(),)
    encoding: str = 'cdr'

    def qos_text(self) -> str:
        """Return the QoS as the metadata of a channel holds them, '' where they are not known."""
        return _dump([qos.as_rosbag2() for qos in self.qos]) if self.qos else ''


@dataclass
class FileSummary:
    """What a file of a recording holds. start, end: log times, nanoseconds."""

    name: str
    start: int = _NEVER
    end: int = 0
    counts: dict[WrittenTopic, int] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Number of messages."""
        return sum(self.counts.values())

    @property
    def duration(self) -> int:
        """Nanoseconds between the first and the last message."""
        return max(self.end - self.start, 0) if self.count else 0


def metadata_of_file(file: FileSummary) -> dict[str, str]:
    """Return the record `rosbag2` that a file of its own carries in it."""
    return {'serialized_metadata': _dump(_information([file], None))}


def metadata_text(files: Sequence[FileSummary], custom: Mapping[str, str] | None = None) -> str:
    """Return metadata.yaml of a recording; `custom` is kept in it as rosbag2's custom_data."""
    return _dump({'rosbag2_bagfile_information': _information(files, custom)}) + '\n'


def _information(files: Sequence[FileSummary], custom: Mapping[str, str] | None) -> dict[str, Any]:
    counts: dict[WrittenTopic, int] = {}
    for file in files:
        for topic, count in file.counts.items():
            counts[topic] = counts.get(topic, 0) + count
    start = min((file.start for file in files), default=_NEVER)
    end = max((file.end for file in files), default=0)
    whole = FileSummary('', start, end, counts)
    return {
        'version': _VERSION,
        'storage_identifier': 'mcap',
        **_times(whole),
        'message_count': whole.count,
        'topics_with_message_count': list(_topics(counts.items())),
        'compression_format': '',
        'compression_mode': '',
        'relative_file_paths': [file.name for file in files],
        'files': [
            {'path': file.name, **_times(file), 'message_count': file.count} for file in files
        ],
        'custom_data': dict(custom) if custom else None,
        'ros_distro': DISTRO,
    }


def _times(file: FileSummary) -> dict[str, dict[str, int]]:
    return {
        'duration': {'nanoseconds': file.duration},
        'starting_time': {'nanoseconds_since_epoch': file.start},
    }


def _topics(counts: Iterable[tuple[WrittenTopic, int]]) -> Iterable[dict[str, Any]]:
    for topic, count in counts:
        yield {
            'topic_metadata': {
                'name': topic.name,
                'type': topic.type,
                'serialization_format': topic.encoding,
                'offered_qos_profiles': [qos.as_rosbag2() for qos in topic.qos],
                'type_description_hash': topic.definition.type_hash,
            },
            'message_count': count,
        }


def _dump(content: Any) -> str:
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True).rstrip('\n')
