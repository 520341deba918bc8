// Decodes what comes on stdin and writes it to stdout: the header's side of test_masks_cpp.py.
// A request: 7 numbers (whole, height, width, box x, y, width, height), encoding, data.
// An answer: 1 and the pixels, or 0 and the sentence. Numbers are 32 bits, texts have their length before them.
#include <pdl_ros/masks.hpp>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>

namespace
{

bool read(void * to, std::size_t size) {return std::fread(to, 1, size, stdin) == size;}

std::string read_text()
{
  std::uint32_t size = 0;
  read(&size, sizeof size);
  std::string text(size, '\0');
  read(&text[0], size);
  return text;
}

void answer(std::uint32_t good, const void * bytes, std::size_t size)
{
  const auto length = static_cast<std::uint32_t>(size);
  std::fwrite(&good, sizeof good, 1, stdout);
  std::fwrite(&length, sizeof length, 1, stdout);
  if (size > 0) {  // without any, `bytes` may be null
    std::fwrite(bytes, 1, size, stdout);
  }
  std::fflush(stdout);
}

}  // namespace

int main()
{
  std::uint32_t n[7];
  while (read(n, sizeof n)) {
    const std::string encoding = read_text();
    const std::string text = read_text();
    // Of the exact size on the heap, so that the sanitizer sees a byte read past the end.
    std::unique_ptr<std::uint8_t[]> data(new std::uint8_t[text.size()]);
    std::copy(text.begin(), text.end(), data.get());
    const pdl_ros::Box box{n[3], n[4], n[5], n[6]};
    const std::uint8_t * bytes = data.get();
    try {
      const pdl_ros::Mask mask =
        n[0] ? pdl_ros::decode_mask(encoding, bytes, text.size(), n[1], n[2], box) :
        pdl_ros::decode_mask_in_box(encoding, bytes, text.size(), n[1], n[2], box);
      answer(1, mask.pixels.data(), mask.pixels.size());
    } catch (const std::invalid_argument & error) {
      const std::string sentence = error.what();
      answer(0, sentence.data(), sentence.size());
    }
  }
}
