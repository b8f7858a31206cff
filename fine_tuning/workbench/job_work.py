"""What each kind of job does; imported in a job's own process, as it loads torch."""

from __future__ import annotations

from fine_tuning.config.schema import Settings
from fine_tuning.config.workspace import Workspace
from fine_tuning.core.errors import FineTuningError
from fine_tuning.jobs.kinds import JobContext, JobResult
from fine_tuning.workbench.demo import DEMO_SETTINGS, RUN_ID, run_demo
from fine_tuning.workbench.jobs.kinds import (
    DemoParams,
    DeployParams,
    EvaluateParams,
    ForecastParams,
    TrainParams,
)
from fine_tuning.workbench.workbench import Workbench


def _workbench(context: JobContext) -> Workbench:
    return Workbench(context.settings, context.workspace, context.reporter.progress)


def train(context: JobContext, params: TrainParams) -> JobResult:
    """Train the recorded conversations, or go on with the run that was begun."""
    bench, reporter = _workbench(context), context.reporter
    folder = bench.context.workspace.runs / params.run_id
    if (folder / "settings.json").exists():
        run = bench.train.resume(params.run_id, reporter)
    else:
        run = bench.train.train(run_id=params.run_id, listener=reporter)
    version = bench.models.versions.of_run(str(run.folder)).name
    before, after = run.metrics.base_validation_loss, run.metrics.best_validation_loss
    sentence = f"{version} is trained"
    if before and after:
        sentence += f"; its loss on held-back chats went from {before:.2f} to {after:.2f}"
    if params.then_compare:
        deploys = bench.context.settings.deployment.auto_deploy
        bench.jobs.start_evaluation(str(run.folder), deploy_if_better=deploys)
    return JobResult(sentence=sentence, values={"run_id": run.run_id, "version": version})


def evaluate(context: JobContext, params: EvaluateParams) -> JobResult:
    """Compare a run; deploy it if that was asked for and it is better."""
    bench = _workbench(context)
    report = bench.evaluate.evaluate(
        params.run, against=params.against, beside=list(params.beside), judge=params.judge
    )
    outcome = report.verdict.outcome
    sentence = f"the verdict on {params.run_id} against {params.against}: {outcome}"
    values: dict[str, object] = {"run_id": params.run_id, "outcome": outcome}
    if params.deploy_if_better and outcome == "promote":
        context.reporter.stage("deploying")
        try:
            name = bench.models.deployment.deploy(params.run).deployed.name
        except FineTuningError as error:  # what was measured stands all the same
            sentence += f"; it was not deployed: {error.message}"
        else:
            values["deployed"] = name
            sentence += f"; it is deployed and proven, as {name}"
    return JobResult(sentence=sentence, values=values)


def deploy(context: JobContext, params: DeployParams) -> JobResult:
    """Serve a version and prove it."""
    context.reporter.stage("deploying")
    bench = _workbench(context)
    served = bench.models.deployment.deploy(
        params.run, way=params.way or None, switch=params.switch
    ).deployed
    return JobResult(
        sentence=f"{served.version} answers as {served.name} on {served.runtime}, and is proven",
        values={"version": served.version, "name": served.name},
    )


def demo(context: JobContext, params: DemoParams) -> JobResult:
    """Load the samples, train, compare and deploy; a demo that was interrupted goes on."""
    reporter = context.reporter
    home = Workspace(home=context.workspace.demo)
    own = Workbench(DEMO_SETTINGS, home, reporter.progress)
    folder = own.context.workspace.runs / RUN_ID
    if not (folder / "settings.json").exists():
        run_demo(home.home, listener=reporter, progress=reporter.progress, on_stage=reporter.stage)
    else:
        own.train.resume(RUN_ID, reporter)
        if not (folder / "evaluation.json").exists():
            reporter.stage("evaluate")
            own.evaluate.evaluate(RUN_ID, prompts=())
    reporter.stage("deploying")
    served = _workbench(context).models.deployment.deploy(str(folder)).deployed
    return JobResult(
        sentence=f"the demo's model {served.version} is trained, compared and deployed",
        values={"run_id": params.run_id, "version": served.version, "name": served.name},
    )


def forecast(context: JobContext, params: ForecastParams) -> JobResult:
    """Measure what each preset would take; the data set is made once."""
    presets: dict[str, object] = {}
    num_examples = 0
    snapshot = None
    for name, raw in params.settings.items():
        settings = Settings.model_validate(raw)
        bench = Workbench(settings, context.workspace, context.reporter.progress)
        context.reporter.stage(f"measuring {name}")
        try:
            snapshot = snapshot or bench.data.prepare()
            num_examples = len(snapshot.split("train").examples)
            needs = bench.train.forecast(snapshot)
        except FineTuningError as error:
            presets[name] = {"error": error.message, "next_command": error.next_command}
        else:
            presets[name] = {"num_steps": needs.num_steps, **needs.values()}
    return JobResult(
        sentence="time, memory and disk are measured",
        values={"presets": presets, "num_examples": num_examples},
    )
