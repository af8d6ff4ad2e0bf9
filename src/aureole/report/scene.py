"""The picture of a scene: its image with every object outlined."""

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from aureole.core.files import write_bytes
from aureole.core.scene import Scene
from aureole.report import panels, style
from aureole.report.page import picture_bytes

_COLOURS = (style.TARGET, style.OBJECT, "#CC79A7", "#009E73", "#F0E442")


def draw_scene(scene: Scene, path: Path) -> None:
    """Write the scene's picture (PNG); InputError when the disk refuses."""
    figure = Figure(figsize=(4.4, 5.4), facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.08, 0.2, 0.84, 0.68))
    style.show_image(axes, scene.image.cpu().numpy())
    handles = []
    for i, (label, mask) in enumerate(zip(scene.labels, scene.masks, strict=True)):
        colour = _COLOURS[i % len(_COLOURS)]
        style.outline(axes, mask.cpu().numpy(), colour)
        handles.append(Line2D([], [], color=colour, linewidth=2.5, label=f"label {label}"))
    panels.below(axes, handles)
    style.heading(axes, scene.name, " x ".join(str(n) for n in scene.image.shape))
    write_bytes(path, picture_bytes(figure, "png"))
