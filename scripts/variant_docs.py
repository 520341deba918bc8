"""Count what each variant costs, and write the table of docs/variants.md.

    python scripts/variant_docs.py

The counts go into pdl_ros/network/costs.json, so that `pdl_ros variants` need not build the
networks.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from pdl_ros.cli.catalogue import COSTS, markdown_table
from pdl_ros.network.checkpoints import skeleton
from pdl_ros.network.cost import multiply_adds, parameter_count
from pdl_ros.network.variants import VARIANTS, Variant
from pdl_ros.preprocessing import padded_size

PAGE = Path(__file__).resolve().parents[1] / 'docs' / 'variants.md'
TABLE = re.compile(r'^\| variant \|.*?(?=^[^|])', re.MULTILINE | re.DOTALL)


def count(variant: Variant) -> dict[str, Any]:
    """Return what a variant costs when an image fills its edges."""
    network = skeleton(variant)
    height, width = padded_size((variant.short_edge, variant.long_edge), variant)
    return {
        'input': [height, width],
        'parameters': parameter_count(network),
        'multiply_adds': multiply_adds(network, height, width),
    }


def main() -> None:
    lines = (f'{json.dumps(v.name)}: {json.dumps(count(v))}' for v in VARIANTS.values())
    COSTS.write_text('{\n' + ',\n'.join(lines) + '\n}\n', encoding='utf-8')
    page, found = TABLE.subn(lambda _: f'{markdown_table()}\n', PAGE.read_text(encoding='utf-8'))
    assert found == 1, f'{PAGE} has {found} tables of variants'
    PAGE.write_text(page, encoding='utf-8')


if __name__ == '__main__':
    main()
