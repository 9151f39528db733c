"""`roughneck acl`: the users of Redis, one for each role."""

from pathlib import Path

import click

from ops.acl import write
from ops.cli.session import Command, Session, pass_session

LOOPBACK = "redis://127.0.0.1:6379/0"


@click.command(
    cls=Command,
    epilog="\b\nExample:\n  roughneck --redis redis://10.8.0.1:6379/0 acl /etc/roughneck",
)
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@pass_session
def acl(session: Session, /, folder: Path) -> None:
    """Write Redis' ACL file and the URL of each role into FOLDER.

    Name the server as the roles will reach it: roughneck --redis redis://10.8.0.1:6379/0 acl .
    Run it again and passwords stay; delete the URL file of a role first, and it gets a new one.
    """
    settings = session.settings
    written = write(folder.expanduser(), settings.redis.url or LOOPBACK, settings.engine.tag)
    session.screen.say("\n".join(map(str, written)), written)
    session.screen.note(
        "redis.conf: `aclfile` names users.acl; each process: ROUGHNECK_REDIS__URL_FILE=<role>.url"
    )
