"""Every flag of `mlbridge learn` and every key of its configuration has a test that shows what it changes."""

import argparse
import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from trainers.commands import learn
from trainers.config import RunConfig

TESTS = Path(__file__).resolve().parents[1]
BEHAVIOR, RUN, PLAYERS, PARAMETERS = (
    f"trainers/test_effects_{name}.py" for name in ("behavior", "run", "players", "parameters")
)
GIVEN = f"{PLAYERS}::test_a_player_gets_what_is_set_for_it"
LIVES = f"{PLAYERS}::test_a_player_has_so_many_lives"
LISTEN = f"{PLAYERS}::test_listen_opens_the_ports_to_other_machines_and_says_so"
PERIOD = f"{PLAYERS}::test_restarts_count_for_their_period"
SCHEDULES = f"{BEHAVIOR}::test_tensorboard_shows_the_schedules"
UPDATE = f"{BEHAVIOR}::test_an_update_has_its_epochs_and_minibatches"
SIGNALS = "trainers/test_effects_signals.py"
RETURNS = f"{BEHAVIOR}::test_returns_by_hand"
SHAPES = f"{BEHAVIOR}::test_networks_are_as_wide_and_deep_as_asked_for"
CHECKPOINTS = "trainers/test_run.py::test_checkpoints_come_at_their_interval_and_the_newest_stay"
REFUSED = "trainers/test_config_errors.py::test_what_ml_agents_can_and_this_cannot_is_refused_by_name"
DRAWS = f"{PARAMETERS}::test_a_sampler_draws_as_its_parameters_say"
FOLDER = f"{RUN}::test_run_id_and_results_dir_name_the_folder"
DEPRECATED = "trainers/test_learn_command.py::test_flags_that_ml_agents_has_given_up_are_taken_with_a_warning"
NO_GRAPHICS = f"{PLAYERS}::test_no_graphics_is_for_every_player"
TIMEOUT = f"{PLAYERS}::test_timeout_wait_is_how_long_a_silent_player_is_waited_for"
SEED = f"{RUN}::test_the_seed_decides_on_the_run"
FORCE = f"{RUN}::test_force_begins_anew_in_a_folder_that_exists"
FROM = f"{RUN}::test_initialize_from_takes_the_networks_and_not_the_steps"
INFERENCE = f"{RUN}::test_inference_plays_and_learns_nothing"
DEVICE = f"{RUN}::test_the_device_is_that_of_the_networks"
DEBUG = f"{RUN}::test_debug_says_more_with_times"

# Each names its key; keys of a behavior stand without `behaviors.NAME`.
EFFECTS = {
    "CONFIG": f"{RUN}::test_without_a_configuration_every_behavior_has_the_defaults_of_ppo",
    "--base-port": GIVEN,
    "--capture-frame-rate": GIVEN,
    "--debug": DEBUG,
    "--deterministic": f"{RUN}::test_deterministic_is_for_every_behavior",
    "--dry-run": "trainers/test_learn_command.py::test_a_dry_run_prints_what_would_be_in_effect",
    "--env": TIMEOUT,
    "--env-args": GIVEN,
    "--force": FORCE,
    "--height": GIVEN,
    "--in-process": "end_to_end/test_learn.py::test_a_world_in_the_same_process",
    "--inference": INFERENCE,
    "--initialize-from": FROM,
    "--load": f"{RUN}::test_a_run_is_resumed_by_a_flag",
    "--listen": LISTEN,
    "--max-lifetime-restarts": LIVES,
    "--no-graphics": NO_GRAPHICS,
    "--no-graphics-monitor": GIVEN,
    "--num-areas": GIVEN,
    "--num-envs": GIVEN,
    "--quality-level": GIVEN,
    "--restarts-rate-limit-n": (
        "end_to_end/test_learn_errors.py::test_a_player_that_crashes_again_and_again_ends_the_run"
    ),
    "--restarts-rate-limit-period-s": PERIOD,
    "--results-dir": FOLDER,
    "--resume": f"{RUN}::test_a_run_is_resumed_by_a_flag",
    "--run-id": FOLDER,
    "--seed": SEED,
    "--set": f"{RUN}::test_set_wins_over_the_file_and_the_flags",
    "--profile": f"{RUN}::test_profile_writes_where_each_steps_time_went",
    "--workers": "end_to_end/test_learn_workers.py::test_workers_train_one_policy_together",
    "--film": "trainers/test_films.py::test_every_checkpoint_has_a_film_in_tensorboard",
    "--stop-at-reward": f"{RUN}::test_stop_at_reward_ends_the_run",
    "--target-frame-rate": GIVEN,
    "--tensorflow": DEPRECATED,
    "--time-scale": GIVEN,
    "--timeout-wait": TIMEOUT,
    "--torch": DEPRECATED,
    "--torch-device": DEVICE,
    "--train": DEPRECATED,
    "--width": GIVEN,
    "default_settings": f"{RUN}::test_default_settings_are_those_of_behaviors_with_and_without_a_section",
    "trainer_type": REFUSED,
    "max_steps": "trainers/test_run.py::test_the_run_overshoots_max_steps_by_the_last_trajectories",
    "time_horizon": f"{BEHAVIOR}::test_time_horizon_cuts_episodes_that_are_longer",
    "summary_freq": "trainers/test_behavior_trainer.py::test_summaries_stand_at_multiples_of_summary_freq",
    "checkpoint_interval": CHECKPOINTS,
    "keep_checkpoints": CHECKPOINTS,
    "even_checkpoints": f"{BEHAVIOR}::test_even_checkpoints_spread_over_the_run",
    "threaded": (
        "trainers/test_learner.py"
        "::test_a_threaded_update_gives_the_same_weights_and_leaves_the_policy_alone_until_it_ends"
    ),
    "init_path": "trainers/test_resume.py::test_init_path_names_a_file_of_the_other_run_or_any_file",
    "self_play": REFUSED,
    "behavioral_cloning": REFUSED,
    "hyperparameters.batch_size": UPDATE,
    "hyperparameters.buffer_size": UPDATE,
    "hyperparameters.num_epoch": UPDATE,
    "hyperparameters.learning_rate": f"{BEHAVIOR}::test_the_first_step_of_adam_is_as_long_as_the_learning_rate",
    "hyperparameters.beta": f"{BEHAVIOR}::test_beta_pays_for_entropy",
    "hyperparameters.epsilon": f"{BEHAVIOR}::test_epsilon_limits_how_far_an_update_moves_the_policy",
    "hyperparameters.learning_rate_schedule": SCHEDULES,
    "hyperparameters.beta_schedule": SCHEDULES,
    "hyperparameters.epsilon_schedule": SCHEDULES,
    "hyperparameters.lambd": RETURNS,
    "hyperparameters.shared_critic": f"{BEHAVIOR}::test_a_shared_critic_has_no_body_of_its_own",
    "hyperparameters.value_clipping": "trainers/test_ppo.py::test_an_update_is_adam_on_the_loss_of_ml_agents",
    "hyperparameters.joint_ratio": "trainers/test_ppo.py::test_a_joint_ratio_is_that_of_the_whole_action",
    "hyperparameters.max_grad_norm": "trainers/test_ppo.py::test_a_gradient_is_scaled_down_to_its_greatest_norm",
    "hyperparameters.target_kl": "trainers/test_ppo.py::test_an_update_ends_when_the_policy_has_moved_far_enough",
    "network_settings.normalize": f"{BEHAVIOR}::test_normalize_learns_mean_and_spread_of_the_observations",
    "network_settings.hidden_units": SHAPES,
    "network_settings.num_layers": SHAPES,
    "network_settings.memory.memory_size": (
        "trainers/test_learner.py::test_values_of_a_network_with_memory_are_those_along_the_trajectory"
    ),
    "network_settings.deterministic": f"{BEHAVIOR}::test_a_deterministic_policy_does_the_same_where_it_sees_the_same",
    "network_settings.goal_conditioning_type": (
        "trainers/test_behavior_trainer.py::test_a_goal_signal_can_be_taken_as_an_ordinary_observation"
    ),
    "network_settings.memory.sequence_length": (
        f"{SIGNALS}::test_sequence_length_says_how_many_sequences_make_a_minibatch"
    ),
    "network_settings.vis_encode_type": f"{SIGNALS}::test_vis_encode_type_is_the_network_for_pictures",
    "reward_signals.extrinsic.network_settings": (
        f"{SIGNALS}::test_network_settings_of_the_extrinsic_signal_change_nothing"
    ),
    **{
        f"reward_signals.{signal}.{key}": f"{SIGNALS}::{test}"
        for signal in ("curiosity", "rnd")
        for key, test in {
            "gamma": "test_gamma_and_strength_are_the_critics_business",
            "strength": "test_gamma_and_strength_are_the_critics_business",
            "learning_rate": "test_the_first_step_of_a_signals_network_is_as_long_as_its_learning_rate",
            "network_settings": "test_a_signals_network_is_as_wide_as_network_settings_or_encoding_size_say",
            "encoding_size": "test_a_signals_network_is_as_wide_as_network_settings_or_encoding_size_say",
        }.items()
    },
    "reward_signals.extrinsic.gamma": RETURNS,
    "reward_signals.extrinsic.strength": RETURNS,
    "reward_signals.gail": REFUSED,
    "env_settings.base_port": GIVEN,
    "env_settings.env_args": GIVEN,
    "env_settings.env_path": TIMEOUT,
    "env_settings.max_lifetime_restarts": ("trainers/test_restarts.py::test_minus_one_is_no_limit_and_none_is_none"),
    "env_settings.num_areas": GIVEN,
    "env_settings.listen": LISTEN,
    "env_settings.lockstep": "end_to_end/test_learn.py::test_players_in_lockstep_make_a_run_that_repeats_itself",
    "env_settings.num_envs": GIVEN,
    "env_settings.restarts_rate_limit_n": LIVES,
    "env_settings.restarts_rate_limit_period_s": "trainers/test_restarts.py::test_several_within_the_period",
    "env_settings.seed": SEED,
    "env_settings.timeout_wait": TIMEOUT,
    **{
        f"engine_settings.{key}": GIVEN
        for key in (
            *("width", "height", "quality_level", "time_scale", "target_frame_rate", "capture_frame_rate"),
            "no_graphics_monitor",
        )
    },
    "engine_settings.no_graphics": NO_GRAPHICS,
    "environment_parameters.curriculum.name": f"{PARAMETERS}::test_the_console_tells_a_lesson_by_its_name",
    "environment_parameters.curriculum.value.sampler_type": DRAWS,
    **{
        f"environment_parameters.curriculum.value.sampler_parameters.{key}": DRAWS
        for key in ("value", "min_value", "max_value", "mean", "st_dev", "intervals")
    },
    "environment_parameters.curriculum.value.sampler_parameters.seed": (
        f"{PARAMETERS}::test_a_sampler_with_a_seed_draws_the_same_in_every_run"
    ),
    **{
        f"environment_parameters.curriculum.completion_criteria.{key}": f"{path}::{test}"
        for key, path, test in (
            ("behavior", PARAMETERS, "test_a_lesson_waits_for_its_own_behavior"),
            ("measure", PARAMETERS, "test_a_lesson_ends_above_its_threshold"),
            ("threshold", PARAMETERS, "test_a_lesson_ends_above_its_threshold"),
            ("min_lesson_length", PARAMETERS, "test_a_lesson_has_its_min_lesson_length"),
            (
                "signal_smoothing",
                "trainers/test_environment_parameters.py",
                "test_smoothing_weighs_a_quarter_of_what_was",
            ),
            ("require_reset", "trainers/test_environment_parameters.py", "test_a_lesson_may_ask_for_a_reset"),
        )
    },
    "checkpoint_settings.force": FORCE,
    "checkpoint_settings.inference": INFERENCE,
    "checkpoint_settings.initialize_from": FROM,
    "checkpoint_settings.load_model": f"{RUN}::test_a_run_is_resumed",
    "checkpoint_settings.results_dir": FOLDER,
    "checkpoint_settings.resume": f"{RUN}::test_a_run_is_resumed",
    "checkpoint_settings.run_id": FOLDER,
    "checkpoint_settings.train_model": f"{RUN}::test_train_model_has_no_effect",
    "torch_settings.averaging": "trainers/test_distributed.py::test_ranks_stay_the_same_whatever_each_has",
    "torch_settings.backend": f"{RUN}::test_the_backend_that_is_asked_for_is_insisted_on",
    "torch_settings.device": DEVICE,
    "torch_settings.threads": f"{RUN}::test_threads_are_those_of_torch_and_of_the_kernels",
    "debug": DEBUG,
}
# Those whose test is still to be written; none but these may be without.
# Sections whose keys stand elsewhere as well.
REPEATED = re.compile(r"default_settings|reward_signals\.\w+\.network_settings")


def models(annotation: Any) -> list[type[BaseModel]]:
    """Those that a value may be made of; the names that a mapping gives them are not part of their keys."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in models(part)]


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        path = "" if name == "behaviors" else prefix + name
        inside = [] if REPEATED.fullmatch(path) else models(field.annotation)
        for part in inside:
            yield from keys(part, path and path + ".")
        if not inside:
            yield path


def flags() -> set[str]:
    parser = argparse.ArgumentParser()
    learn.add_arguments(parser)
    options = {option for action in parser._actions for option in action.option_strings} - {"-h", "--help"}
    return options | {action.metavar for action in parser._actions if not action.option_strings}


@cache
def functions(path: str) -> dict[str, str]:
    """The tests in a file, with their source, decorators and all."""
    text = (TESTS / path).read_text(encoding="utf-8")
    lines = text.splitlines()
    return {
        node.name: "\n".join(
            lines[min([node.lineno, *(each.lineno for each in node.decorator_list)]) - 1 : node.end_lineno]
        )
        for node in ast.parse(text).body
        if isinstance(node, ast.FunctionDef)
    }


def test_every_flag_and_every_key_is_listed() -> None:
    known = set(keys(RunConfig)) | flags()
    assert known - set(EFFECTS) == set(), "without a test that shows what they change"
    assert set(EFFECTS) - known == set(), "there are no such flags and keys"


@pytest.mark.parametrize("key", EFFECTS)
def test_the_test_is_there_and_names_the_key(key: str) -> None:
    path, name = EFFECTS[key].split("::")
    assert name in functions(path)
    word = key.removeprefix("--").replace("-", "_").split(".")[-1]
    assert word in functions(path)[name].replace("-", "_"), f"{EFFECTS[key]} does not mention {word}"
