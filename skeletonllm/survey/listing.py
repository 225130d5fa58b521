"""Findings as JSON, for other programs."""

import json
from typing import Any

from skeletonllm.survey.collect import Survey


def listing(survey: Survey) -> str:
    """All findings that are kept, with counts of all."""
    counts: dict[str, dict[str, int]] = {}
    for (level, kind), count in sorted(survey.counts.items()):
        counts.setdefault(level, {})[kind] = count
    plain: dict[str, Any] = {
        "path": str(survey.path),
        "kind": survey.kind,
        "clips": survey.clips,
        "recordings": survey.recordings,
        "seconds": round(survey.seconds, 3),
        "counts": counts,
        "findings": [
            {
                "level": one.finding.level,
                "file": one.file,
                "clip_id": one.finding.clip_id,
                "kind": one.finding.kind,
                "text": one.finding.text,
                "remedy": one.finding.remedy,
            }
            for one in survey.findings
        ],
    }
    return json.dumps(plain, indent=2, ensure_ascii=False) + "\n"
