"""Recorded video becomes the pictures that the camera took, each with its own stamp."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from pdl_ros.bags.bag import Bag
from pdl_ros.bags.decoders import PacketDecoder
from pdl_ros.bags.video import VideoDecoder
from pdl_ros.errors import PdlError
from pdl_ros.sources import open_source

from .recordings import PERIOD, START, McapFile
from .video_recordings import (
    GROUP,
    PACKET,
    VIDEO,
    Packet,
    encode,
    number_of,
    picture,
    pixels,
    protobuf_message,
    record_video,
    video_message,
)

CODECS = ['h264', 'h265']


def decode(
    packets: list[Packet], codec: str = 'h264', decoder: VideoDecoder[int] | None = None
) -> tuple[list[int], list[str]]:
    """Decode packets; return the numbers of the pictures, each of which must have its own tag, and
    what was told.
    """
    decoder = decoder or VideoDecoder[int]()
    done = [pair for p in packets for pair in decoder.decode(video_message(p, codec), p.number)]
    done += decoder.flush()
    for tag, rgb in done:
        assert number_of(rgb) == tag
    return [tag for tag, _ in done], [sentence for sentence, _ in decoder.told]


@pytest.mark.parametrize('codec', CODECS)
@pytest.mark.parametrize('kind', [VIDEO, PACKET])
@pytest.mark.parametrize('bframes', [0, 2])
def test_all_pictures_come_in_the_order_taken_with_their_stamps(tmp_path, codec, kind, bframes):
    packets = encode(codec, 20, bframes)
    assert ([p.number for p in packets] != list(range(20))) == bool(bframes)
    bag = Bag(record_video(tmp_path / 'drive.mcap', packets, codec, kind))
    decoder, sent = PacketDecoder(), list(bag.messages(bag.topics))
    found = [picture for message in sent for picture in decoder.decode(message)]
    found += decoder.finish()
    for number, (rgb, header, message) in enumerate(found):
        assert (header.stamp.nanosec, header.frame_id) == (number, 'camera')
        place = [packet.number for packet in packets].index(number)
        assert message.log_time == START + place * PERIOD
        assert rgb.dtype == np.uint8
        assert np.abs(pixels(rgb) - pixels(picture(number))).max() < 12
    assert len(found) == 20
    assert not decoder.incidents()


def test_a_video_topic_is_a_source_like_any_other(tmp_path):
    path = record_video(tmp_path / 'drive.mcap', encode('h264', 12))
    source = open_source(f'{path}:/video')
    assert (source.name, source.length, round(source.fps, 3)) == ('/video', 12, 10.0)
    for _ in range(2):
        assert [number_of(rgb) for rgb in source] == list(range(12))


@pytest.mark.parametrize('codec', CODECS)
@pytest.mark.parametrize('bframes', [0, 2])
def test_from_the_middle_of_a_group_on_the_key_frame_is_waited_for_and_it_is_said_once(
    codec, bframes
):
    packets = encode(codec, 20, bframes)
    numbers, told = decode(packets[2:], codec)
    assert numbers == list(range(GROUP, 20))
    (sentence,) = told
    assert sentence.endswith(f'before the first key frame, which are skipped: {GROUP - 2}.')


@pytest.mark.parametrize('codec', CODECS)
@pytest.mark.parametrize('bframes', [0, 2])
def test_a_packet_of_nonsense_costs_its_group_and_no_other_frame(codec, bframes):
    packets = encode(codec, 20, bframes)
    at = GROUP + 2
    head = packets[at].data[:8]  # it still looks like a picture
    packets[at] = packets[at]._replace(data=head + b'\xff' * 200)
    decoder = VideoDecoder[int]()
    numbers, told = decode(packets, codec, decoder)
    lost = [p.number for p in packets[at : 2 * GROUP]]
    # H.264's decoder gives up one picture more: the one that it would have shown next.
    assert len(set(range(20)) - set(lost) - set(numbers)) <= (codec == 'h264')
    assert {0, 1, 2, 3, *range(2 * GROUP, 20)} <= set(numbers)
    assert packets[at].number not in numbers
    assert decoder.lost == 20 - len(numbers)
    (warning,) = told
    assert f'packet {at + 1} is damaged' in warning
    assert f'Frames lost up to the next key frame: {decoder.lost}' in warning


@pytest.mark.parametrize('codec', CODECS)
def test_damage_at_the_end_is_said_too(codec):
    packets = encode(codec, 20)
    packets[-2] = packets[-2]._replace(data=packets[-2].data[:8] + b'\xff' * 200)
    numbers, (warning,) = decode(packets, codec)
    assert numbers == list(range(18))
    assert warning.endswith('Frames lost up to the end: 2.')


@pytest.mark.parametrize('codec', CODECS)
def test_a_message_that_was_never_recorded_costs_its_group(codec):
    packets = encode(codec, 20)
    numbers, told = decode(packets[: GROUP + 2] + packets[GROUP + 3 :], codec)
    assert numbers == [*range(GROUP + 2), *range(2 * GROUP, 20)]
    (warning,) = told
    assert f'Frames lost up to the next key frame: {GROUP - 3}' in warning


@pytest.mark.parametrize(
    'rules',
    [
        ':keyint=1000:bframes=3:b-pyramid=normal',
        ':keyint=1000:bframes=2:b-pyramid=strict:slices=4',
        ':keyint=1000:cabac=0:8x8dct=0:ref=4',
        ':keyint=1000:intra-refresh=1:ref=1',
        ':keyint=1000:interlaced=1',
        ':keyint=1000:cqm=jvt:ref=5:bframes=3',
        ':open-gop=1:bframes=2',
    ],
)
def test_a_whole_stream_is_taken_for_whole_however_it_is_encoded(rules):
    packets = encode('h264', 25, more=rules)
    assert decode(packets * 3) == ([*range(25)] * 3, [])


def test_pictures_that_need_the_group_before_are_skipped_where_that_is_missing():
    packets = encode('h264', 25, bframes=2, more=':open-gop=1')
    decoder = VideoDecoder[int]()
    numbers, told = decode(packets[4:], decoder=decoder)
    assert [packet.number for packet in packets[4:6]] == [5, 4]
    assert numbers == list(range(5, 25))
    assert (decoder.skipped, decoder.lost) == (1, 0)
    assert told == ['pictures that need what came before the first key frame: 1.']


@pytest.mark.parametrize('at', [7, 11, 30])
def test_a_gap_in_a_long_group_of_h264_is_noticed(at):
    packets = encode('h264', 25, more=':keyint=1000')
    packets = packets + packets
    numbers, told = decode(packets[:at] + packets[at + 1 :])
    assert len(numbers) == (at + 25 if at < 25 else at)
    assert f'before packet {at + 1} others are missing' in told[0]


@pytest.mark.parametrize('codec', CODECS)
def test_pictures_larger_than_allowed_are_refused_before_they_take_memory(codec):
    packets = encode(codec, 6)
    decoder = VideoDecoder[int](max_pixels=96 * 64 - 1)
    numbers, told = decode(packets, codec, decoder)
    assert not numbers
    assert decoder.lost == 6
    assert 'damaged, or too large' in told[0]
    assert decode(packets, codec, VideoDecoder[int](max_pixels=128 * 96)) == ([*range(6)], [])


def test_a_size_that_only_the_message_claims_is_refused_with_its_numbers():
    message = video_message(encode('h264', 1)[0], kind=PACKET)
    message.width = message.height = 1 << 30
    decoder = VideoDecoder[int]()
    assert not decoder.decode(message, 0) + decoder.flush()
    assert '1073741824x1073741824' in decoder.told[0][0]


def test_parameter_sets_may_come_in_a_message_of_their_own():
    packets = encode('h264', 10)
    start = packets[0].data.index(b'\0\0\1\x65')  # the first slice of the key frame
    first = [Packet(-1, False, packets[0].data[:start]), Packet(0, True, packets[0].data[start:])]
    assert decode(first + packets[1:]) == (list(range(10)), [])


def test_the_size_of_the_pictures_may_change():
    small = encode('h264', 5)
    large = [p._replace(number=p.number + 5) for p in encode('h264', 5, size=(128, 96))]
    decoder = VideoDecoder[int]()
    shapes = [
        rgb.shape[:2]
        for p in small + large
        for _, rgb in decoder.decode(video_message(p), p.number)
    ] + [rgb.shape[:2] for _, rgb in decoder.flush()]
    assert shapes == [(64, 96)] * 5 + [(96, 128)] * 5
    assert not decoder.told


def test_video_without_any_key_frame_is_an_error_and_no_empty_result(tmp_path):
    path = record_video(tmp_path / 'drive.mcap', encode('h264', 5)[1:])
    with pytest.raises(PdlError, match='no image of /video can be decoded'):
        list(open_source(str(path)))


@pytest.mark.parametrize('said', ['av1', 'vp9', '', '\x1b[2Jx'])
def test_another_codec_is_named_with_what_can_be_decoded(tmp_path, said):
    path = record_video(tmp_path / 'drive.mcap', encode('h264', 2), codec=said)
    with pytest.raises(PdlError, match=r"/video, image 1: The video is '.*'; H\.264 and H\.265"):
        list(open_source(str(path)))


def test_a_source_says_once_what_is_missing(tmp_path, caplog):
    path = record_video(tmp_path / 'drive.mcap', encode('h264', 12)[2:])
    assert [number_of(rgb) for rgb in open_source(str(path))] == list(range(GROUP, 12))
    (record,) = (r for r in caplog.records if r.name == 'pdl_ros.bags')
    assert '/video: it starts in the middle of a group' in record.getMessage()


def test_without_pyav_the_extra_is_named(monkeypatch):
    monkeypatch.setattr('pdl_ros.errors.find_spec', lambda _: None)
    with pytest.raises(PdlError, match=r"pip install 'pdl_ros\[video\]'"):
        VideoDecoder()


@pytest.mark.parametrize('seed', range(4))
def test_random_damage_never_raises_and_never_shows_a_picture_under_a_wrong_stamp(seed):
    random = np.random.default_rng(seed)
    packets = encode(CODECS[seed % 2], 20, 2 * (seed // 2))
    for at in random.choice(20, 5, replace=False):
        data = np.frombuffer(packets[at].data, np.uint8).copy()
        places = random.integers(0, len(data), max(len(data) // 8, 1))
        data[places] = random.integers(0, 256, len(places))
        packets[at] = packets[at]._replace(data=data.tobytes())
    decoder = VideoDecoder[int]()
    tags = []
    for p in packets:
        tags += [t for t, _ in decoder.decode(video_message(p, CODECS[seed % 2]), p.number)]
    tags += [tag for tag, _ in decoder.flush()]
    assert tags == sorted(set(tags))
    assert len(tags) + decoder.lost + decoder.skipped >= 20 - 5


def test_of_an_endless_video_only_what_is_held_back_stays_in_memory():
    """Packets without a picture, as of a stream that was never whole, must not add up."""
    decoder = VideoDecoder[int]()
    key = encode('h264', 1)[0]
    list(islice((decoder.decode(video_message(key), n) for n in range(200)), 200))
    assert len(decoder._pending) <= 32


def test_a_topic_of_images_and_one_of_video_are_told_apart(tmp_path):
    file = McapFile(tmp_path / 'drive.mcap')
    file.topic('/video', VIDEO)
    path = file.frames(file.topic('/image')).finish()
    assert open_source(str(path)).name == '/image'


@pytest.mark.parametrize('name', ['foxglove.CompressedVideo', 'foxglove::CompressedVideo'])
def test_foxgloves_own_names_of_the_type_are_known(tmp_path, name):
    path = record_video(tmp_path / 'drive.mcap', encode('h264', 5), schema=name)
    assert [number_of(rgb) for rgb in open_source(str(path))] == list(range(5))


def test_foxgloves_videos_as_protobuf_are_read_without_their_schema(tmp_path):
    file = McapFile(tmp_path / 'drive.mcap', profile='')
    name = 'foxglove.CompressedVideo'
    channel = file.topic('/video', name, b'\n\xff\xfe', 'protobuf', 'protobuf')
    for place, packet in enumerate(encode('h265', 12, bframes=2)):
        file.write(channel, START + place * PERIOD, protobuf_message(packet, 'h265'))
    bag = Bag(file.finish())
    decoder = PacketDecoder()
    found = [p for message in bag.messages(bag.topics) for p in decoder.decode(message)]
    found += decoder.finish()
    assert [number_of(picture.rgb) for picture in found] == list(range(12))
    for number, (_, header, _) in enumerate(found):
        stamp = header.stamp
        assert (stamp.sec, stamp.nanosec, header.frame_id) == (1, number, 'camera')


@pytest.mark.parametrize(
    'data', [b'\x1a\xff\xff\xff\xff\x7f', b'\x08\x80', b'\x0b', b'\x18\x01', b'\xff' * 20]
)
def test_a_damaged_protobuf_is_a_sentence(tmp_path, data):
    file = McapFile(tmp_path / 'drive.mcap', profile='')
    channel = file.topic('/video', 'foxglove.CompressedVideo', b'', 'protobuf', 'protobuf')
    file.write(channel, START, data)
    with pytest.raises(PdlError, match='/video, image 1: the message is damaged: '):
        list(open_source(str(file.finish())))
