"""Mutants of the code by which runs survive a crash: each of these mistakes makes a test fail."""

from __future__ import annotations

from mutants import Mutant

RESUME, QUEUE, SUPERVISOR = (
    "tests/contracts/test_resume.py",
    "tests/storage/test_queue.py",
    "tests/runner/test_supervisor.py",
)


def left_out(what: str, file: str, old: str, new: str) -> Mutant:
    """A part of the state that is not saved, or saved and not used."""
    return Mutant(f"a resumed training forgets {what}", file, ((old, new),), (RESUME,))


SURVIVAL_MUTANTS = (
    Mutant(
        "transactions start with a plain BEGIN",
        "harness/storage/engines.py",
        (('"BEGIN IMMEDIATE"', '"BEGIN"'),),
        (f"{QUEUE}::test_eight_writers_never_hear_that_the_store_is_locked",),
    ),
    Mutant(
        "who lost the claim may finish",
        "harness/storage/store.py",
        (
            (
                'self._fence(connection, run_id, owner, done | {"data_hash": provenance.get("data_hash")})',
                "connection.execute(sa.update(RUNS).where(RUNS.c.run_id == run_id).values(**done))",
            ),
        ),
        (f"{QUEUE}::test_a_lease_that_is_over_is_anybodys_and_its_last_owner_is_refused",),
    ),
    Mutant(
        "the fence looks at the run and not at who holds it",
        "harness/storage/queue.py",
        (("RUNS.c.owner == owner, RUNS.c.status ==", "RUNS.c.status =="),),
        (f"{QUEUE}::test_a_lease_that_is_over_is_anybodys_and_its_last_owner_is_refused",),
    ),
    Mutant(
        "two claims of one process are the same",
        "harness/storage/queue.py",
        (('lambda attempt: f"{owner}#{attempt}"', "lambda _: owner"),),
        (f"{QUEUE}::test_a_lease_that_is_over_is_anybodys_and_its_last_owner_is_refused",),
    ),
    Mutant(
        "a lease never ends",
        "harness/storage/reader.py",
        (("RUNS.c.lease_until < database_time()", "RUNS.c.lease_until < 0"),),
        (f"{QUEUE}::test_a_lease_that_is_over_is_anybodys_and_its_last_owner_is_refused",),
    ),
    Mutant(
        "a checkpoint counts without the points before it",
        "harness/storage/store.py",
        (
            (
                "            if rows:\n                connection.execute(sa.insert(CURVES)",
                "            if rows and saved is None:\n                connection.execute(sa.insert(CURVES)",
            ),
        ),
        (f"{SUPERVISOR}::test_stopped_and_damaged_it_goes_on_from_what_is_whole",),
    ),
    Mutant(
        "a checkpoint file that nobody registered stays",
        "harness/storage/queue.py",
        (("            if file not in kept:", "            if False:"),),
        (f"{QUEUE}::test_a_claim_goes_on_from_the_newest_checkpoint_and_cuts_what_lies_beyond",),
    ),
    Mutant(
        "points beyond the checkpoint stay",
        "harness/storage/queue.py",
        (("table.c.run_id == run_id, table.c.step > step)", "table.c.run_id == run_id, table.c.step > 10**9)"),),
        (f"{QUEUE}::test_a_claim_goes_on_from_the_newest_checkpoint_and_cuts_what_lies_beyond",),
    ),
    Mutant(
        "a damaged checkpoint is used",
        "harness/training/checkpoint.py",
        (("if hashlib.sha256(content).hexdigest() == saved.sha256 else None", ""),),
        (f"{SUPERVISOR}::test_stopped_and_damaged_it_goes_on_from_what_is_whole",),
    ),
    Mutant(
        "what lies beyond a damaged checkpoint stays",
        "harness/runner/recorder.py",
        (("store.rewind(claim.run_id, claim.owner, message.step)", "pass"),),
        (f"{SUPERVISOR}::test_stopped_and_damaged_it_goes_on_from_what_is_whole",),
    ),
    Mutant(
        "asked to stop, a worker saves nothing",
        "harness/runner/worker.py",
        (("if attempt is not None and attempt.unsaved():", "if False:"),),
        ("tests/cli/test_app.py::test_a_worker_that_is_terminated_gives_its_cell_back_and_exits_with_75",),
    ),
    Mutant(
        "a folder serves two stores",
        "harness/storage/database.py",
        (("keep_out(self.place)", "pass"), ("settle(self.place, self._identity())", "pass")),
        ("tests/storage/test_folder.py::test_a_second_store_in_the_folder_is_refused_and_the_first_keeps_its_files",),
    ),
    Mutant(
        "a full disk is a cell's own fault",
        "harness/system/disk_full.py",
        (
            ("        return error.errno in FULL", "        return False"),
            ("in message for number in FULL", "in message for number in ()"),
        ),
        (
            "tests/training/test_trained_policies.py::test_without_room_the_folder_stays_as_it_was_and_nothing_is_left_beside_it",
        ),
    ),
    left_out("the weights", "harness/training/loop.py", 'parameter.copy_(state.tensors[f"policy.{name}"])', "pass"),
    left_out(
        "the optimiser's moments",
        "harness/training/loop.py",
        "self.optimizer.state[parameter] = {key: t.to(parameter.device) for key, t in moments.items()}",
        "pass",
    ),
    left_out(
        "the step",
        "harness/training/loop.py",
        'state.facts["step"], state.facts["seconds"]',
        '0, state.facts["seconds"]',
    ),
    left_out(
        "the seconds",
        "harness/training/loop.py",
        'state.facts["step"], state.facts["seconds"]',
        'state.facts["step"], 0.0',
    ),
    left_out("the tokens", "harness/training/loop.py", 'self.meter.with_gradient = state.facts["tokens"]', "pass"),
    left_out(
        "the tokens without gradient",
        "harness/training/loop.py",
        'self.meter.without_gradient = state.facts.get("without_gradient", 0)',
        "pass",
    ),
    left_out(
        "how many nodes were sampled",
        "harness/training/replay_buffer.py",
        'values.get("sampled_nodes", 0)',
        "0",
    ),
    left_out("the threads", "harness/training/loop.py", 'self.threads |= set(state.facts["threads"])', "pass"),
    left_out(
        "the curve",
        "harness/training/loop.py",
        'self.points = [Step(**point) for point in state.facts["points"]]',
        "pass",
    ),
    left_out(
        "the progress",
        "harness/training/loop.py",
        "self.progress = self.budget.used(self.step, self.tokens, self.seconds)\n        if state",
        "if state",
    ),
    left_out(
        "the replay buffer",
        "harness/training/loop.py",
        'self.buffer.contents = Contents.from_json(state.facts["replay"])',
        "pass",
    ),
    left_out(
        "the rollouts' ages",
        "harness/training/replay_buffer.py",
        "(sampled_at, Trajectory(",
        "(0, Trajectory(",
    ),
    left_out(
        "how many rollouts were drawn",
        "harness/training/replay_buffer.py",
        'cls(rows, values["drawn"], ',
        "cls(rows, 0, ",
    ),
    left_out(
        "how many actions were sampled",
        "harness/training/replay_buffer.py",
        'values["drawn"], values["sampled_actions"], ',
        'values["drawn"], 0, ',
    ),
    Mutant(
        "a state taken within a step holds a part of the step",
        "harness/training/loop.py",
        (
            (
                "        counts, contents = self._settled",
                "        self._settle()\n        counts, contents = self._settled",
            ),
        ),
        (f"{RESUME}::test_a_state_taken_within_a_step_is_that_before_it",),
    ),
    Mutant(
        "a point at which a training was saved is not scored",
        "harness/training/loop.py",
        (('if state.facts.get("due") is not None:', "if False:"),),
        ("tests/runner/test_interim.py::test_saved_in_the_step_that_is_scored_it_is_scored_once",),
    ),
    Mutant(
        "a stage that cannot be cut is waited for",
        "harness/runner/supervisor.py",
        (("min(PROMPT, self.options.grace)", "self.options.grace"),),
        ("tests/runner/test_stop.py",),
    ),
)
