"""What pictures of the worlds show: where things are, in which colors, and the same each time."""

import numpy as np
import pytest
from numpy.typing import NDArray

from unity_envs import drawing_plain
from unity_envs.scenes import BOX, CAPSULE, SHAPE, SPHERE, Camera, Scene, rotation_matrices
from unity_envs.stages import STAGES, scene_of_poses
from unity_envs.viewer import Camera as CameraSensor
from unity_envs.viewer import choose_renderer, render_world

BACKGROUND = (241, 243, 246)


def orange(picture):
    red, green, blue = picture.astype(int).transpose(2, 0, 1)
    return (red > blue + 70) & (red > green + 40) & (green > blue + 20)


def blue(picture):
    red, _, blue = picture.astype(int).transpose(2, 0, 1)
    return blue > red + 90


def green(picture):
    red, green, blue = picture.astype(int).transpose(2, 0, 1)
    return (green > red + 40) & (green > blue + 20)


def centre(mask) -> NDArray[np.float64]:
    """Column and row."""
    assert mask.any()
    rows, columns = np.nonzero(mask)
    return np.array([columns.mean(), rows.mean()])


def uphill(platform) -> int:
    """By how many pixels its upper edge rises from left to right."""
    columns = np.flatnonzero(platform.any(axis=0))
    left, right = (columns[len(columns) * share // 10] for share in (3, 7))
    return int(platform[:, left].argmax() - platform[:, right].argmax())


def draw(behavior, *poses, size=(200, 200)):
    return drawing_plain.render(scene_of_poses(behavior, np.array(poses, np.float64), size[0] / size[1]), *size)


def ball_pose(x=0.0, y=3.0, z=0.0, turn_z=0.0, turn_x=0.0, radius=0.5):
    half_z, half_x = np.radians([turn_z, turn_x]) / 2
    rotation = np.sin(half_x) * np.cos(half_z), 0.0, np.sin(half_z) * np.cos(half_x), np.cos(half_x) * np.cos(half_z)
    return (*rotation, x, y, z, radius)


def pole_pose(x=0.0, degrees=0.0):
    angle = np.radians(degrees)
    return x, x - 0.95 * np.sin(angle), 0.15 + 0.95 * np.cos(angle), angle


def project(camera: Camera, points, width, height):
    """Column and row of points [n, 3]."""
    right, up, depth = camera.axes @ (np.asarray(points) - camera.position).T
    scale = height / 2 / (camera.slope * depth)
    return np.stack([width / 2 + right * scale, height / 2 - up * scale], axis=1)


# ---- 3DBall ----


def test_a_ball_in_the_middle_is_in_the_middle_of_the_platform_and_of_its_own_color():
    picture = draw("3DBall", ball_pose())
    ball, platform = orange(picture), blue(picture)
    assert 30 < ball.sum() < 0.1 * platform.sum()
    assert abs(centre(ball)[0] - 100) < 1
    assert abs(centre(platform)[0] - 100) < 2
    assert tuple(picture[0, 0]) == BACKGROUND


@pytest.mark.parametrize(
    ("pose", "right", "down"),
    [
        (ball_pose(x=1.5), 1, 0),
        (ball_pose(x=-1.5), -1, 0),
        (ball_pose(y=4.0), 0, -1),
        (ball_pose(x=3.0, y=0.0), 1, 1),
        (ball_pose(z=1.5), 0, -1),  # away from the viewer, so higher up in the picture
        (ball_pose(z=-1.5), 0, 1),
    ],
)
def test_the_ball_is_drawn_where_it_is(pose, right, down):
    moved = centre(orange(draw("3DBall", pose))) - centre(orange(draw("3DBall", ball_pose())))
    assert np.sign(np.where(np.abs(moved) < 3, 0, moved)).tolist() == [right, down]


def test_a_ball_of_twice_the_radius_is_four_times_as_large():
    once, twice = (orange(draw("3DBall", ball_pose(y=4.0, radius=radius))).sum() for radius in (0.5, 1.0))
    assert twice / once == pytest.approx(4, rel=0.15)


def test_a_platform_turned_about_z_is_higher_on_its_right():
    assert uphill(blue(draw("3DBall", ball_pose(y=9.0, turn_z=10)))) > 5
    assert uphill(blue(draw("3DBall", ball_pose(y=9.0, turn_z=-10)))) < -5


def test_rotations_take_x_to_y_about_z_and_y_to_z_about_x():
    half = np.sqrt(0.5)
    about_z, about_x = rotation_matrices(np.array([[0, 0, half, half], [half, 0, 0, half]]))
    assert (about_z @ [1, 0, 0]).tolist() == pytest.approx([0, 1, 0], abs=1e-12)
    assert (about_x @ [0, 1, 0]).tolist() == pytest.approx([0, 0, 1], abs=1e-12)


@pytest.mark.parametrize("degrees", [-8.0, 8.0])
def test_a_ball_rolls_to_the_side_that_is_lower_in_the_picture(new_game, degrees):
    game = new_game(agents=1)
    half = np.radians(degrees) / 2
    game.change(agent_platform=[[0, 0, np.sin(half), np.cos(half)]], agent_ball=[[0, 3.03, 0, 0, 0, 0, 0, 0, 0]])
    before = render_world(game.world, 200, 200, "plain")
    for _ in range(8):
        game.step()
    after = render_world(game.world, 200, 200, "plain")
    lower = -np.sign(uphill(blue(before) | orange(before)))
    assert lower == -np.sign(degrees)
    assert (centre(orange(after))[0] - centre(orange(before))[0]) * lower > 5


def test_twelve_agents_stand_in_rows_of_four_each_where_the_camera_has_it():
    rng = np.random.default_rng(0)
    poses = np.array([ball_pose(x, 5 + y, z) for x, y, z in rng.uniform(-2, 2, (12, 3))])
    scene = scene_of_poses("3DBall", poses, 640 / 420)
    balls = scene.shapes[scene.shapes["kind"] == SPHERE]
    picture = drawing_plain.render(scene, 640, 420)
    places = project(scene.camera, balls["position"], 640, 420)
    assert orange(picture)[places[:, 1].astype(int), places[:, 0].astype(int)].all()
    rows = (balls["position"] - poses[:, 4:7])[:, [0, 2]].reshape(3, 4, 2)
    assert (np.diff(rows[:, :, 0], axis=1) > 5).all()  # from left to right
    assert (np.diff(rows[:, :, 1], axis=0) < -5).all()  # the first row is the furthest


@pytest.mark.parametrize("aspect", [0.5, 16 / 9])
@pytest.mark.parametrize("count", [1, 5, 40])
@pytest.mark.parametrize(
    ("behavior", "pose"), [("CubeMover", (10.0,)), ("PoleBalancer", pole_pose(2.4, 15)), ("3DBall", ball_pose(3, 4))]
)
def test_all_agents_fit_into_the_picture(behavior, pose, count, aspect):
    scene = scene_of_poses(behavior, np.array([pose] * count), aspect)
    seen = project(scene.camera, scene.shapes["position"], round(1000 * aspect), 1000)
    assert (seen > 0).all()
    assert (seen < [round(1000 * aspect), 1000]).all()


# ---- PoleBalancer and CubeMover ----


def test_a_positive_angle_leans_the_pole_to_the_left_and_the_cart_goes_to_the_right():
    upright, leaning, moved = (draw("PoleBalancer", pose) for pose in (pole_pose(), pole_pose(0, 12), pole_pose(1.5)))
    assert abs(centre(orange(upright))[0] - 100) < 1
    assert centre(orange(leaning))[0] < 97
    assert abs(centre(blue(leaning))[0] - centre(blue(upright))[0]) < 2
    assert centre(orange(leaning))[1] > centre(orange(upright))[1]
    for part in (orange, blue):
        assert centre(part(moved))[0] > centre(part(upright))[0] + 30


def test_the_pole_stands_on_the_cart():
    picture = draw("PoleBalancer", pole_pose(0.5, -9), size=(400, 240))
    pole, cart = orange(picture), blue(picture)
    foot = np.flatnonzero(pole.any(axis=1))[-1]
    assert abs(np.flatnonzero(pole[foot]).mean() - centre(cart)[0]) < 5
    assert np.flatnonzero(cart.any(axis=1))[0] - 3 <= foot <= np.flatnonzero(cart.any(axis=1))[-1]


def test_the_cube_is_blue_and_on_its_cell_between_the_small_and_the_large_goal():
    size = (640, 80)
    columns = [centre(blue(draw("CubeMover", [cell], size=size)))[0] for cell in (-10, -3, 0, 7, 10)]
    assert columns[2] == pytest.approx(320, abs=2)
    assert np.diff(columns) / np.diff([-10, -3, 0, 7, 10]) == pytest.approx(np.full(4, 28), abs=2)  # pixels a cell
    goals = green(draw("CubeMover", [0], size=size))
    small, large = goals[:, :320], goals[:, 320:]
    assert centre(small)[0] == pytest.approx(columns[1], abs=3)
    assert centre(large)[0] + 320 == pytest.approx(columns[3], abs=3)
    assert large.sum() > 3 * small.sum() > 0


def test_both_variants_of_the_cube_mover_start_with_the_same_picture(new_game):
    default, basic = new_game(1, name="CubeMover"), new_game(1, name="CubeMover", variant="basic")
    default.begin_anew()  # after a reset it stands one cell to the left
    first = render_world(default.world, 320, 60, "plain")
    assert (first == render_world(basic.world, 320, 60, "plain")).all()
    default.step(1)
    basic.step(2)
    second = render_world(default.world, 320, 60, "plain")
    assert (second == render_world(basic.world, 320, 60, "plain")).all()
    assert centre(blue(second))[0] > centre(blue(first))[0] + 8


# ---- the plain renderer ----


def alone(*shape, size=(120, 80), ground=None):
    """A picture of one shape (all of SHAPE but the color, which is orange), seen from 10 m in front of the origin."""
    shapes = np.array([(*shape, (1.0, 0.5, 0.2))], SHAPE)
    camera = Camera((0.0, 0.0, -10.0), (0.0, 0.0, 0.0), 30.0)
    return drawing_plain.render(Scene(shapes, camera, ground), *size)


def extent(mask) -> tuple[int, int]:
    return int(np.ptp(np.flatnonzero(mask.any(axis=0)))) + 1, int(np.ptp(np.flatnonzero(mask.any(axis=1)))) + 1


@pytest.mark.parametrize(
    ("shape", "width", "height"),
    [
        # Half of the 80 rows are a slope of tan(15 degrees): 149.3 pixels for a slope of 1.
        ((SPHERE, (1, 0, 0), (0, 0, 0), (0, 0, 0, 1)), 30, 30),
        ((BOX, (1, 0.5, 1), (0, 0, 0), (0, 0, 0, 1)), 33, 16.6),  # its front is at 9 m
        ((BOX, (1, 0.5, 1), (0, 0, 0), (0, 0, np.sqrt(0.5), np.sqrt(0.5))), 16.6, 33),
        ((CAPSULE, (0.25, 1, 0), (0, 0, 0), (0, 0, 0, 1)), 7.5, 30),
        ((CAPSULE, (0.25, 1, 0), (0, 0, 0), (0, 0, np.sqrt(0.5), np.sqrt(0.5))), 30, 7.5),
        ((CAPSULE, (0.25, 1, 0), (0, 0, 0), (np.sqrt(0.5), 0, 0, np.sqrt(0.5))), 8, 8),  # its end alone
    ],
)
def test_shapes_have_the_size_that_perspective_gives_them(shape, width, height):
    seen = extent(orange(alone(*shape)))
    assert seen == pytest.approx((width, height), abs=1.5)


def test_what_is_behind_the_camera_or_beside_the_picture_is_not_drawn():
    for position in ((0, 0, -15), (8, 0, 0), (0, -6, 0)):
        assert (alone(SPHERE, (1, 0, 0), position, (0, 0, 0, 1)) == BACKGROUND).all()


def test_a_shape_around_the_camera_is_not_drawn_and_does_no_harm():
    assert (alone(BOX, (20, 20, 20), (0, 0, 0), (0, 0, 0, 1)) == BACKGROUND).all()


def test_the_nearer_shape_hides_the_other_whatever_their_order():
    near, far = ((SPHERE, (1, 0, 0), (0, 0, z), (0, 0, 0, 1), color) for z, color in ((-3, (1, 0, 0)), (3, (0, 0, 1))))
    camera = Camera((0.0, 0.0, -10.0), (0.0, 0.0, 0.0), 30.0)
    pictures = [
        drawing_plain.render(Scene(np.array(order, SHAPE), camera), 60, 60) for order in ([near, far], [far, near])
    ]
    assert (pictures[0] == pictures[1]).all()
    assert pictures[0][30, 30, 0] > 100
    assert pictures[0][:, :, 2][blue(pictures[0])].size == 0


def test_a_ground_is_seen_by_the_shadow_on_it_alone():
    picture = alone(SPHERE, (1, 0, 0), (0, 0, 0), (0, 0, 0, 1), ground=-1.2)
    others = picture[~orange(picture)].astype(int)
    shadow = others[others.sum(axis=1) < sum(BACKGROUND) - 60]
    assert len(shadow) > 40
    assert np.median(others, axis=0).tolist() == list(BACKGROUND)


def test_edges_are_smooth():
    hard, smooth = (
        drawing_plain.render(scene_of_poses("3DBall", np.array([ball_pose(turn_z=7)]), 1.0), 100, 100, rays)
        for rays in (1, 4)
    )
    assert len(np.unique(smooth.reshape(-1, 3), axis=0)) > 2 * len(np.unique(hard.reshape(-1, 3), axis=0))
    assert np.abs(smooth.astype(int) - hard).mean() < 2


def test_the_same_state_gives_the_same_bytes():
    first = draw("3DBall", ball_pose(0.3, 3.1, -0.7, 5, -3))
    assert first.tobytes() == draw("3DBall", ball_pose(0.3, 3.1, -0.7, 5, -3)).tobytes()
    assert first.tobytes() != draw("3DBall", ball_pose(0.4, 3.1, -0.7, 5, -3)).tobytes()


def test_a_world_without_a_picture_is_told():
    with pytest.raises(ValueError, match="the behavior Walker has no picture; there are pictures of CubeMover, Basic"):
        scene_of_poses("Walker?team=0", np.zeros((1, 1)), 1.0)


def test_an_unknown_renderer_is_told():
    with pytest.raises(ValueError, match="unknown renderer 'pretty': known are auto, mujoco, plain"):
        choose_renderer("pretty")


# ---- the camera of the visual variant ----


def test_the_camera_sees_what_a_picture_of_that_agent_shows(new_game):
    game = new_game(agents=3, variant="visual")
    pictures = np.full((2, 3, 84, 84), np.nan, np.float32)
    CameraSensor(84).take(game.world, np.array([2, 0]), pictures)
    for agent, picture in zip((2, 0), pictures, strict=True):
        pose = STAGES["Visual3DBall"].poses(game.world.agents[[agent]])
        drawn = drawing_plain.render(scene_of_poses("Visual3DBall", pose, 1.0), 84, 84, 2)
        assert (picture == drawn.transpose(2, 0, 1) / np.float32(255)).all()


def test_agents_see_their_own_ball_and_the_same_again(new_game):
    games = [new_game(agents=2, seed=5, variant="visual") for _ in range(2)]
    for _ in range(4):
        first, second = (game.decisions.obs[0] for game in games)
        assert first.shape == (2, 3, 84, 84)
        assert first.dtype == np.float32
        assert 0 <= first.min() < 0.3 < 0.9 < first.max() <= 1
        assert first.tobytes() == second.tobytes()
        assert (first[0] != first[1]).any()
        for game in games:
            game.step(0.5)


def test_the_camera_sees_the_ball_up_to_the_end_of_an_episode(new_game):
    game = new_game(agents=8, variant="visual")
    rng = np.random.default_rng(3)
    ends = 0
    while ends < 8:
        game.step(rng.uniform(-1, 1, (8, 2)))
        for seen in (*game.decisions.obs[0], *game.terminals.obs[0]):
            assert orange(255 * seen.transpose(1, 2, 0)).sum() > 12
        ends += len(game.terminals)
