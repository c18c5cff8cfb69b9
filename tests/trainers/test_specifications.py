"""What a checkpoint says of a behavior's agents."""

import json

import pytest
from mlagents_envs.base_env import ActionSpec, BehaviorSpec, DimensionProperty, ObservationSpec, ObservationType

from trainers.specifications import specification_from_dict, specification_to_dict

NONE, SHIFTS = DimensionProperty.NONE, DimensionProperty.TRANSLATIONAL_EQUIVARIANCE
SPEC = BehaviorSpec(
    [
        ObservationSpec((3, 20, 24), (NONE, SHIFTS, SHIFTS), ObservationType.DEFAULT, "camera"),
        ObservationSpec((6, 4), (DimensionProperty.VARIABLE_SIZE, NONE), ObservationType.DEFAULT, "entities"),
        ObservationSpec((2,), (DimensionProperty.UNSPECIFIED,), ObservationType.GOAL_SIGNAL, "goal"),
    ],
    ActionSpec(2, (3, 4)),
)


@pytest.mark.parametrize("spec", [SPEC, BehaviorSpec(SPEC.observation_specs[:1], ActionSpec(0, (5,)))])
def test_a_specification_is_the_same_after_a_way_through_plain_values(spec):
    content = json.loads(json.dumps(specification_to_dict(spec)))
    assert specification_from_dict(content) == spec
    assert isinstance(specification_from_dict(content).observation_specs[0].dimension_property[0], DimensionProperty)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content.pop("discrete_branches"), "'discrete_branches' is missing"),
        (lambda content: content["observations"][0].pop("shape"), "'shape' is missing"),
        (lambda content: content["observations"][0].update(shape=7), "not iterable"),
        (lambda content: content["observations"][0].update(shape=[3, 20]), r"'camera' has the shape \(3, 20\)"),
        (lambda content: content["observations"][0].update(shape=[3, 0, 24]), r"'camera' has the shape \(3, 0, 24\)"),
        (lambda content: content["observations"][0].update(observation_type=9), "9 is not a valid ObservationType"),
        (lambda content: content.update(continuous_size="many"), "many"),
    ],
)
def test_what_is_damaged_is_told(damage, message):
    content = specification_to_dict(SPEC)
    damage(content)
    with pytest.raises(ValueError, match=message):
        specification_from_dict(content)
