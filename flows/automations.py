"""Create what `infra/prefect/automations.yaml` describes, or replace what has the same name: `python -m flows.automations`.

The stock command, `prefect automation create --from-file`, makes another one each time, and knows a notification block
only by its id, which is another on every server.
"""

import sys
from pathlib import Path
from typing import Any

import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.events.schemas.automations import AutomationCore

AUTOMATIONS = Path("infra/prefect/automations.yaml")


def create_automations(path: Path = AUTOMATIONS) -> list[str]:
    """Create or replace every automation of a file; returns what was done with each.

    One whose notification block is not there is left out, and its line says how to make the block.
    """
    with get_client(sync_client=True) as client:
        blocks = {block.name: str(block.id) for block in client.read_block_documents()}
        return [_create(client, described, blocks) for described in yaml.safe_load(path.read_text())]


def _create(client: SyncPrefectClient, described: dict[str, Any], blocks: dict[str | None, str]) -> str:
    actions = [dict(action) for action in described["actions"]]
    for action in actions:
        if (name := action.pop("block", None)) is None:
            continue
        if name not in blocks:
            return (
                f"{described['name']}: left out, for there is no notification block {name!r}; make one, for example "
                f"SlackWebhook(url=...).save({name!r}), and run this again"
            )
        action["block_document_id"] = blocks[name]
    automation = AutomationCore.model_validate({**described, "actions": actions})
    there = client.read_automations_by_name(automation.name)
    if not there:
        client.create_automation(automation)
        return f"{automation.name}: created"
    client.update_automation(there[0].id, automation)
    for double in there[1:]:
        client.delete_automation(double.id)
    return f"{automation.name}: replaced"


def main() -> int:
    """Say what was done with each; 1 when one was left out."""
    lines = create_automations()
    print("\n".join(lines))
    return int(any("left out" in line for line in lines))


if __name__ == "__main__":
    sys.exit(main())
