from __future__ import annotations

import numpy as np
import pytest

from calcium_scoring.phantom.canvas import Canvas, CoarseGrid
from calcium_scoring.phantom.random_fields import NoiseField, Warp
from calcium_scoring.phantom.shapes import (
    FAR_MM,
    Ellipsoid,
    Segments,
    Tube,
    place_tubes,
    smooth_max,
)

AXIS = np.arange(-40.0, 40.5, 0.5, dtype=np.float32)


def bent_tube() -> Tube:
    points = np.array([[-20.0, 5.0, -12.0], [0.0, -3.0, 0.0], [18.0, 10.0, 3.0]])
    return Tube(points, np.array([4.0, 3.0, 2.0]), flattening=0.7)


def test_distance_to_a_capsule_across_the_plane_is_that_to_its_axis_less_its_radius() -> None:
    tube = Tube(np.array([[0.0, 0.0, -50.0], [0.0, 0.0, 50.0]]), np.array([3.0, 3.0]))

    distance = Segments.of([tube]).nearest(AXIS, AXIS, 0.0, reach=10.0)

    middle = len(AXIS) // 2
    assert distance[middle, middle] == pytest.approx(-3.0)
    assert distance[middle, middle + 10] == pytest.approx(2.0)  # 5 mm from the axis
    assert distance[0, 0] == FAR_MM


def test_all_capsules_at_once_give_the_distances_of_one_by_one() -> None:
    tube = bent_tube()
    segments = Segments.of([tube])

    at_once = segments.nearest(AXIS, AXIS, 1.0, reach=6.0)
    one_by_one = tube.distance(AXIS[np.newaxis], AXIS[:, np.newaxis], 1.0, 6.0)

    near = one_by_one < 6.0
    assert near.any()
    assert at_once[near] == pytest.approx(one_by_one[near], abs=1e-3)


def test_placed_tubes_keep_radii_and_order() -> None:
    tubes = [bent_tube(), bent_tube()]

    moved = place_tubes(tubes, lambda points: np.asarray(points) + 1.0)

    assert np.array_equal(moved[1].points, tubes[1].points + 1.0)
    assert np.array_equal(moved[0].radii, tubes[0].radii)
    assert place_tubes([], np.asarray) == []


def test_what_two_shapes_share_is_never_larger_than_either() -> None:
    left = np.asarray(AXIS[np.newaxis] + np.zeros_like(AXIS)[:, np.newaxis], dtype=np.float32)
    right = np.asarray(-left - 4.0, dtype=np.float32)

    assert (smooth_max(left, right, 3.0) >= np.maximum(left, right) - 1e-5).all()


@pytest.mark.parametrize("pixel_mm", [0.5, 1.0])
def test_painted_disc_has_the_area_of_a_circle(pixel_mm: float) -> None:
    axis = np.arange(-30.0, 30.0, pixel_mm, dtype=np.float32)
    canvas = Canvas(axis, axis, background_hu=0.0)
    grid = CoarseGrid.over(axis, axis, ((-25.0, 25.0), (-25.0, 25.0)), 2.5)
    ball = Ellipsoid(np.zeros(3), (12.0, 12.0, 12.0))

    canvas.cover_coarse(grid, ball.distance(grid.x, grid.y, 0.0), 1.0)

    # pi 12^2 = 452.4 mm2
    assert canvas.hu.sum() * pixel_mm**2 == pytest.approx(452.4, rel=0.02)


def test_fine_tubes_are_painted_with_the_share_of_the_pixels_they_take() -> None:
    axis = np.arange(-10.0, 10.0, 0.5, dtype=np.float32)
    canvas = Canvas(axis, axis, background_hu=0.0)
    tube = Tube(np.array([[0.1, 0.2, -9.0], [0.1, 0.2, 9.0]]), np.array([2.0, 2.0]))

    near = canvas.near(Segments.of([tube]), 0.0, 0.0)
    assert near is not None
    canvas.cover_pixels(*near, 1.0)

    # pi 2^2 = 12.57 mm2
    assert canvas.hu.sum() * 0.25 == pytest.approx(12.57, rel=0.03)


def test_noise_has_mean_zero_and_standard_deviation_one_on_points_and_grids_alike() -> None:
    field = NoiseField.draw(np.random.default_rng(1), 7.0)
    axis = np.arange(0.0, 140.0, 1.0, dtype=np.float32)
    grid = field.on(axis, axis)
    planes = np.stack([grid.plane(float(z)) for z in range(0, 140, 7)])

    assert planes.mean() == pytest.approx(0.0, abs=0.05)
    assert planes.std() == pytest.approx(1.0, abs=0.1)
    points = np.array([[3.0, 20.0, 14.0], [100.0, 77.0, 14.0]])
    assert field.at(points) == pytest.approx([planes[2][20, 3], planes[2][77, 100]], abs=1e-4)


def test_warp_brings_a_point_where_the_grid_finds_it_again() -> None:
    rng = np.random.default_rng(5)
    heights = np.array([[-100.0, 4.0, 0.0], [100.0, -4.0, 3.0]])
    warp = Warp.draw(rng, ((5.0, 55.0), (1.0, 22.0)), heights)
    ideal = np.array([20.0, -60.0, 10.0])

    x, y, z = warp.warped(ideal)
    grid = warp.on(np.array([x], dtype=np.float32), np.array([y], dtype=np.float32))
    found_x, found_y = grid.ideal(z)

    assert z == 10.0
    assert abs(x - 20.0) + abs(y + 60.0) > 0.1
    assert float(found_x[0, 0]) == pytest.approx(20.0, abs=0.15)
    assert float(found_y[0, 0]) == pytest.approx(-60.0, abs=0.15)
