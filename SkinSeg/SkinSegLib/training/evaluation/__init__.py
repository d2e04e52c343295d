"""How good masks are: engines side by side, over data sets with a reference."""

from .cases import (
    SPLITS,
    Case,
    DataSet,
    Entry,
    case_folder,
    outlines,
    pairs_in,
    scenes,
    single_scans,
)
from .measures import Distances, Figures, Reference, measure
from .run import Engine, Evaluation, Row, by_segment, evaluate, network_engine
from .tables import check_card, write_card, write_csv, write_markdown, write_picture

__all__ = [
    "SPLITS",
    "Case",
    "DataSet",
    "Distances",
    "Engine",
    "Entry",
    "Evaluation",
    "Figures",
    "Reference",
    "Row",
    "by_segment",
    "case_folder",
    "check_card",
    "evaluate",
    "measure",
    "network_engine",
    "outlines",
    "pairs_in",
    "scenes",
    "single_scans",
    "write_card",
    "write_csv",
    "write_markdown",
    "write_picture",
]
