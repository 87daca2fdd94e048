"""The command line: what can be asked for, in which words; each command's work has its module.

Commands import their work when they run, so that ``--help`` answers at once and a command needs
only the packages that it uses.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from calcium_scoring.scoring.conventions import ConventionName
from calcium_scoring.scoring.percentiles import RaceOrEthnicity
from calcium_scoring.scoring.tube_voltage import TubeVoltageTableName
from calcium_scoring.version import __version__
from calcium_scoring.volume.patient import Sex
from calcium_scoring.volume.segmentation_kind import SegmentationKind
from service.application.jobs import Priority
from service.application.report_terms import INTENDED_USE
from service.cli.audit_commands import audit_app
from service.cli.choices import (
    ScoreChoices,
    given_facts,
)
from service.cli.console import stdout
from service.cli.crosswalk_commands import crosswalk_app
from service.cli.database_commands import db_app
from service.cli.dicom_commands import add_dicom_commands
from service.cli.job_commands import add_job_commands
from service.cli.key_commands import keys_app
from service.cli.outcome import EXIT_CODES_HELP, ExitCode, needs_extra, run_guarded
from service.cli.rules_commands import rules_app

DEFAULT_PORT: Final = 8000
DEFAULT_WAIT_S: Final = 1800.0
"""Half an hour: a long queue in front of a slow worker. Our choice."""

app = typer.Typer(
    name="cacscore",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help=(
        "Coronary artery calcium scores from CT series.\n\n"
        "Scores are Agatston scores, corrected for slice spacing; volumes are in mm³, masses in "
        "mg, attenuation in HU. Results go to stdout, everything else to stderr.\n\n"
        f"**{INTENDED_USE}**"
    ),
    epilog=EXIT_CODES_HELP,
)

UploadArgument = Annotated[
    Path,
    typer.Argument(
        metavar="PATH",
        help="Zip archive or folder with the DICOM files of one study; other series in it are "
        "left out with a reason.",
        exists=True,
        readable=True,
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print the report (or the problem object) as JSON.")
]

ProtocolOption = Annotated[
    ConventionName,
    typer.Option(
        help="Convention of the score; the report has all others beside it.",
        envvar="CACSCORE_PROTOCOL",
    ),
]
TableOption = Annotated[
    TubeVoltageTableName,
    typer.Option(
        help="Table of thresholds by tube voltage; constant_130 is 130 HU at every voltage.",
        envvar="CACSCORE_TUBE_VOLTAGE_TABLE",
    ),
]
MassFactorOption = Annotated[
    float | None,
    typer.Option(
        help="Calibration factor of the mass score in mg/(cm³ HU); no mass without it.",
        envvar="CACSCORE_MASS_CALIBRATION_FACTOR",
    ),
]
AgeOption = Annotated[
    int | None,
    typer.Option(
        help="Age in years, for percentiles; by default that of the header.", min=0, max=120
    ),
]
SexOption = Annotated[
    Sex | None, typer.Option(help="Sex, for percentiles; by default that of the header.")
]
GroupOption = Annotated[
    RaceOrEthnicity | None,
    typer.Option(help="Race or ethnicity in the words of MESA, for its percentile and risk."),
]

ApiKeyOption = Annotated[
    str | None,
    typer.Option(
        help="Key of the service. Other users of this machine see options; the variable "
        "CACSCORE_API_KEY they do not."
    ),
]

OutFolderOption = Annotated[
    Path,
    typer.Option(
        "--out",
        metavar="DIR",
        help="Folder to write to; created where missing.",
        file_okay=False,
    ),
]


@app.command(
    epilog=EXIT_CODES_HELP,
    help=f"""Score a CT series with the network; no server is involved.

    Finds the calcium scan among the series, segments calcium, and prints the Agatston score with
    every lesion. Expect about a second a slice on one processor core.

    Examples:

    - `cacscore score scan.zip`
    - `cacscore score folder/ --json | jq .agatston_score`
    - `cacscore score scan.zip --mask-out mask.dcm --overlay-out overlay.png`
    - `cacscore score scan.zip --report-out report.pdf --fhir-out report.fhir.json`
    - `cacscore score scan.zip --report-out report.dcm` (DICOM SR)
    - `cacscore score scan.zip --artifacts-out results/` (all files, and a signed record of them)

    {INTENDED_USE}
    """,
)
def score(
    path: UploadArgument,
    as_json: JsonOption = False,
    mask_out: Annotated[
        Path | None,
        typer.Option(
            help="Write the calcium mask: DICOM SEG for .dcm, NIfTI for .nii or .nii.gz. It lies "
            "on the grid of the series.",
            dir_okay=False,
        ),
    ] = None,
    overlay_out: Annotated[
        Path | None,
        typer.Option(
            help="Write a .png of the slice with most calcium, calcium coloured.", dir_okay=False
        ),
    ] = None,
    mask_kind: Annotated[
        SegmentationKind,
        typer.Option(
            help="Kind of DICOM SEG: BINARY, which every viewer reads, or LABELMAP, the new one.",
            case_sensitive=False,
        ),
    ] = SegmentationKind.BINARY,
    report_out: Annotated[
        Path | None,
        typer.Option(
            help="Write the report: .json, .pdf, .csv, DICOM SR for .dcm, or the PDF as a DICOM "
            "object for .pdf.dcm.",
            dir_okay=False,
        ),
    ] = None,
    fhir_out: Annotated[
        Path | None,
        typer.Option(
            help="Write the report as a FHIR R4 bundle (.json): DiagnosticReport and Observations.",
            dir_okay=False,
        ),
    ] = None,
    artifacts_out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder for every file that the service would keep: masks, SR, PDF, key images, "
            "FHIR, CSV, and provenance.json, signed with the key of CACSCORE_DATA_DIR.",
            file_okay=False,
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            help="ONNX file with its ModelSpec, instead of the bundled network.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    protocol: ProtocolOption = "literature",
    tube_voltage_table: TableOption = "constant_130",
    mass_factor: MassFactorOption = None,
    age: AgeOption = None,
    sex: SexOption = None,
    race_or_ethnicity: GroupOption = None,
) -> None:
    """Score a series without a server."""
    choices = ScoreChoices.of(
        protocol=protocol,
        tube_voltage_table=tube_voltage_table,
        mass_factor=mass_factor,
        given=given_facts(age, sex, race_or_ethnicity),
    )
    with needs_extra("worker-cpu"):
        from service.cli.score import Outputs, score_upload  # noqa: PLC0415
    score_upload(
        path,
        wants_json=as_json,
        outputs=Outputs(
            mask=mask_out,
            mask_kind=mask_kind,
            overlay=overlay_out,
            report=report_out,
            fhir=fhir_out,
            folder=artifacts_out,
        ),
        model_file=model,
        choices=choices,
    )


@app.command(
    epilog=EXIT_CODES_HELP,
    help=f"""Score a mask that you drew yourself; no network is involved.

    The mask says which voxels are coronary calcium; those of at least 130 HU count. It must lie on
    the grid of the series:

    - NIfTI (`.nii`, `.nii.gz`): its affine must place its voxels on those of the series.
    - DICOM SEG (`.dcm`): its frames must lie on the slices of the series.
    - NumPy (`.npy`): shape (slices in ascending z, rows, columns).

    Every value but 0 is coronary calcium of an unknown artery. With `--artery-labels` values are 1
    LM, 2 LAD, 3 LCX, 4 RCA, 5 unknown artery, and the report has a score for each artery. SEG
    names arteries by their codes, and files of cacscore say themselves what they hold.

    Examples:

    - `cacscore measure scan.zip --mask reader.nii.gz`
    - `cacscore measure folder/ --mask reader.npy --artery-labels --json`

    {INTENDED_USE}
    """,
)
def measure(
    path: UploadArgument,
    mask: Annotated[
        Path,
        typer.Option(
            help="Mask file: .nii, .nii.gz, .dcm (SEG) or .npy.", exists=True, dir_okay=False
        ),
    ],
    artery_labels: Annotated[
        bool,
        typer.Option("--artery-labels", help="Values of a NIfTI or NumPy mask name arteries."),
    ] = False,
    as_json: JsonOption = False,
    protocol: ProtocolOption = "literature",
    tube_voltage_table: TableOption = "constant_130",
    mass_factor: MassFactorOption = None,
    age: AgeOption = None,
    sex: SexOption = None,
    race_or_ethnicity: GroupOption = None,
) -> None:
    """Score a reader's own mask."""
    from service.cli.measure import measure_mask  # noqa: PLC0415

    measure_mask(
        path,
        mask,
        wants_json=as_json,
        has_artery_labels=artery_labels,
        choices=ScoreChoices.of(
            protocol=protocol,
            tube_voltage_table=tube_voltage_table,
            mass_factor=mass_factor,
            given=given_facts(age, sex, race_or_ethnicity),
        ),
    )


@app.command(
    epilog=EXIT_CODES_HELP,
    help=f"""Say what the score of a report means for a patient; nothing is scored again.

    Prints percentiles by age and sex (Hoff) and by race or ethnicity (MESA), the arterial age, and,
    with all risk factors and an age of 45 to 85 years, the MESA ten-year risk of coronary heart
    disease. Age and sex are those of the report unless they are given. Cholesterol is in mg/dL
    (1 mmol/L is 38.67 mg/dL), blood pressure in mmHg.

    Examples:

    - `cacscore risk report.json --race-or-ethnicity white`
    - `cacscore risk report.json --age 70 --sex male --race-or-ethnicity hispanic
      --total-cholesterol 190 --hdl 50 --systolic 130 --bp-medication --no-lipid-medication
      --no-diabetes --no-smoker --no-family-history`

    {INTENDED_USE}
    """,
)
def risk(
    report: Annotated[
        Path,
        typer.Argument(
            metavar="REPORT",
            help="Report as JSON, of `score --json`, `measure --json` or the service.",
            exists=True,
            dir_okay=False,
            readable=True,
        ),
    ],
    age: AgeOption = None,
    sex: SexOption = None,
    race_or_ethnicity: GroupOption = None,
    total_cholesterol: Annotated[
        float | None, typer.Option(help="Total cholesterol in mg/dL.")
    ] = None,
    hdl: Annotated[float | None, typer.Option(help="HDL cholesterol in mg/dL.")] = None,
    systolic: Annotated[float | None, typer.Option(help="Systolic blood pressure in mmHg.")] = None,
    diabetes: Annotated[
        bool | None, typer.Option("--diabetes/--no-diabetes", help="Has diabetes.")
    ] = None,
    smoker: Annotated[
        bool | None, typer.Option("--smoker/--no-smoker", help="Smokes at present.")
    ] = None,
    lipid_medication: Annotated[
        bool | None,
        typer.Option("--lipid-medication/--no-lipid-medication", help="Takes it against lipids."),
    ] = None,
    bp_medication: Annotated[
        bool | None,
        typer.Option("--bp-medication/--no-bp-medication", help="Takes it for blood pressure."),
    ] = None,
    family_history: Annotated[
        bool | None,
        typer.Option(
            "--family-history/--no-family-history", help="A heart attack occurred in the family."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what a score means."""
    from service.cli.risk import print_risk  # noqa: PLC0415

    given = given_facts(
        age,
        sex,
        race_or_ethnicity,
        {
            "has_diabetes": diabetes,
            "is_current_smoker": smoker,
            "total_cholesterol_mg_per_dl": total_cholesterol,
            "hdl_cholesterol_mg_per_dl": hdl,
            "takes_lipid_medication": lipid_medication,
            "systolic_blood_pressure_mmhg": systolic,
            "takes_blood_pressure_medication": bp_medication,
            "has_family_history_of_heart_attack": family_history,
        },
    )
    print_risk(report, given, wants_json=as_json)


@app.command(
    epilog=EXIT_CODES_HELP,
    help=f"""Check a report: does it follow from its mask and its series?

    Reads the series and the DICOM SEG, measures again without any network, and compares every
    value of the report that mask and series decide: scores, arteries, lesions, volumes,
    categories, geometry and headers. Says which values cannot be decided by them, and why.

    With `--provenance` also checks the record of where the result comes from: its Ed25519
    signature, the SHA-256 of every file of the series, of the mask and of the report, and the
    network. `--public-key` says whose signature it must be; `cacscore key` prints that of this
    machine.

    Exit status 0: equal. 4: different; every difference is printed with both values. 3: one of the
    three files is not what it should be, such as a mask that does not lie on the series.

    Examples:

    - `cacscore verify report.json mask.dcm scan.zip`
    - `cacscore verify report.json mask.dcm folder/ --json | jq .differences`
    - `cacscore verify report.json mask.dcm scan.zip --provenance provenance.json
      --public-key key.pem`

    {INTENDED_USE}
    """,
)
def verify(
    report: Annotated[
        Path,
        typer.Argument(
            metavar="REPORT.json",
            help="Report as `score --json`, the service or `report.json` gives it.",
            exists=True,
            dir_okay=False,
        ),
    ],
    segmentation: Annotated[
        Path,
        typer.Argument(
            metavar="SEG.dcm", help="Its mask as DICOM SEG.", exists=True, dir_okay=False
        ),
    ],
    series: Annotated[
        Path,
        typer.Argument(
            metavar="SERIES",
            help="Zip archive or folder with the DICOM files that were scored.",
            exists=True,
            readable=True,
        ),
    ],
    provenance: Annotated[
        Path | None,
        typer.Option(
            help="Its record `provenance.json`, to be checked too.", exists=True, dir_okay=False
        ),
    ] = None,
    public_key: Annotated[
        Path | None,
        typer.Option(
            help="Public key (PEM) that must have signed the record; by default any key may.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the comparison (or the problem object) as JSON.")
    ] = False,
) -> None:
    """Check a report against its mask and series."""
    from service.cli.verify import verify_files  # noqa: PLC0415

    verify_files(
        report,
        segmentation,
        series,
        provenance=provenance,
        public_key=public_key,
        wants_json=as_json,
    )


@app.command(
    epilog=EXIT_CODES_HELP,
    help=f"""Print the public key with which this machine signs its results.

    The private key lies in the data folder (CACSCORE_DATA_DIR), readable by its owner only, and is
    made at first use. Give the public key to whoever checks results with `cacscore verify`.

    Example:

    - `cacscore key > key.pem`

    {INTENDED_USE}
    """,
)
def key() -> None:
    """Print the public signing key."""
    with needs_extra("worker-cpu"):
        from service.cli.key import print_key  # noqa: PLC0415
    print_key()


@app.command(
    epilog=EXIT_CODES_HELP,
    help=f"""Run the whole service on this machine: gateway, worker, database and a private broker.

    Needs neither root nor Docker. Everything lives in the data folder; starting again with the
    same folder goes on where it ended. Ctrl-C stops all parts, first those that take new work.

    Examples:

    - `cacscore serve`
    - `cacscore serve --port 9000 --data-dir /srv/cacscore`
    - `CACSCORE_BROKER_URL=redis://queue:6379/0 cacscore serve`

    {INTENDED_USE}
    """,
)
def serve(
    host: Annotated[
        str,
        typer.Option(
            help="Address to listen on; beyond this machine only with CACSCORE_AUTH=required."
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535)
    ] = DEFAULT_PORT,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            help="Folder for uploads, results, database, queue and logs; created where missing. "
            "Default: CACSCORE_DATA_DIR, or cacscore-data in the current folder.",
            file_okay=False,
        ),
    ] = None,
) -> None:
    """Run gateway, worker and broker until Ctrl-C."""
    with needs_extra("embedded"):
        from service.cli.serve import serve_until_stopped  # noqa: PLC0415
    serve_until_stopped(host=host, port=port, data_folder=data_dir)


@app.command(
    epilog=EXIT_CODES_HELP,
    help=f"""Send a series to a service, and with --wait print its score.

    A folder is packed first; the archive holds no file names of yours. The same files again are
    the same study and are not scored twice.

    Examples:

    - `cacscore submit http://127.0.0.1:8000 scan.zip --wait`
    - `cacscore submit http://127.0.0.1:8000 folder/ --wait --json > report.json`
    - `cacscore submit http://127.0.0.1:8000 scan.zip --priority stat`

    {INTENDED_USE}
    """,
)
def submit(
    url: Annotated[
        str, typer.Argument(metavar="URL", help="Where the service is: http://host:port")
    ],
    path: UploadArgument,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the score and print it.")] = False,
    timeout: Annotated[
        float, typer.Option(help="With --wait: give up waiting after so many seconds.", min=1)
    ] = DEFAULT_WAIT_S,
    api_key: ApiKeyOption = None,
    priority: Annotated[
        Priority, typer.Option(help="stat is scored before every routine study.")
    ] = Priority.ROUTINE,
    callback_url: Annotated[
        str | None,
        typer.Option(help="URL that the service tells when the study has ended, if it may."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Send a series to a service."""
    with needs_extra("client"):
        from service.cli.submit import submit as submit_upload  # noqa: PLC0415
    submit_upload(
        url,
        path,
        waits=wait,
        wants_json=as_json,
        timeout_s=timeout,
        api_key=api_key,
        priority=priority.value,
        callback_url=callback_url,
    )


@app.command(
    epilog=EXIT_CODES_HELP,
    help=f"""Write simulated patients whose calcium is known exactly.

    For each patient a folder with the CT series as DICOM, `truth_mask.nii.gz` (the voxels that are
    calcium) and `truth.json` (their scores). The same seed gives the same patients.

    Examples:

    - `cacscore phantom --out phantoms --n 3 --seed 7`
    - `cacscore phantom --out phantoms --zip && cacscore score phantoms/patient-0001/ct.zip`

    {INTENDED_USE}
    """,
)
def phantom(
    out: OutFolderOption,
    n: Annotated[int, typer.Option("--n", help="Number of patients.", min=1)] = 1,
    seed: Annotated[
        int, typer.Option("--seed", help="Seed of the first patient; the next has seed + 1.", min=0)
    ] = 0,
    as_zip: Annotated[
        bool, typer.Option("--zip", help="Write each series as ct.zip, not as single files.")
    ] = False,
) -> None:
    """Write simulated patients."""
    from service.cli.phantom import write_phantoms  # noqa: PLC0415

    write_phantoms(out, count=n, first_seed=seed, as_zip=as_zip)


@app.command(
    epilog=EXIT_CODES_HELP,
    help=f"""Score a simulated patient through the whole service, beside its true score.

    Writes a phantom, starts a service of its own, uploads over HTTP, waits, and leaves
    `report.json`, `mask.dcm`, `mask.nii.gz` and `overlay.png` in the folder. Takes a minute or two.

    {INTENDED_USE}
    """,
)
def demo(
    out: OutFolderOption = Path("demo-output"),
    seed: Annotated[int, typer.Option("--seed", help="Seed of the patient.", min=0)] = 1,
) -> None:
    """Show the main job from upload to picture."""
    with needs_extra("embedded"):
        from service.cli.demo import run_demo  # noqa: PLC0415
    run_demo(out, seed=seed)


app.add_typer(db_app, name="db")
app.add_typer(keys_app, name="keys")
app.add_typer(crosswalk_app, name="crosswalk")
app.add_typer(rules_app, name="rules")
app.add_typer(audit_app, name="audit")
add_job_commands(app)
add_dicom_commands(app)


@app.command(epilog=EXIT_CODES_HELP)
def version() -> None:
    """Print the version."""
    stdout.print(f"cacscore {__version__}", markup=False)
    stdout.print(INTENDED_USE, markup=False)


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit status."""

    def command() -> None:
        try:
            app(args=list(arguments), prog_name="cacscore")
        except SystemExit as end:
            # typer ends a usage error (2) and --help (0) this way; None is success.
            statuses.append(end.code if isinstance(end.code, int) else ExitCode.DONE)

    statuses: list[int] = []
    status = run_guarded(command, wants_json="--json" in arguments)
    return statuses[0] if statuses else status


def main() -> None:
    """Entry point of the console script."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
