from .card import write_card as write_card
from .evaluation import refuse_folder as refuse_folder
from .evaluation import write_evaluation as write_evaluation
from .rendering import render as render
from .rendering import sentences as sentences
from .report import write_report as write_report
