"""Start a worker: `python -m service.worker`."""

from __future__ import annotations

from service.worker.tasks import app, settings


def main() -> None:
    """Run until SIGTERM; a running study is then finished first, or left to another worker."""
    app.worker_main(
        [
            "--quiet",
            "worker",
            "--pool=prefork",
            f"--concurrency={settings.worker_processes}",
            f"--loglevel={settings.log_level}",
            # Workers need not know each other: the record is what they share.
            "--without-gossip",
            "--without-mingle",
        ]
    )


if __name__ == "__main__":
    main()
