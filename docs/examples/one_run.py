"""Train one method on the embedded digits, without Ray and without a file: seconds on one core."""

import torch

import data
import methods
from models import encoders
from sweep.training import Recipe, fit

torch.manual_seed(0)
source, kind = data.get("digits"), methods.get("iprm")
digits = source.load(source.Options())
branches = {m: encoders.build("mlp", shape) for m, shape in digits.shapes().items()}
method = kind(branches, digits.num_classes, kind.Hyperparameters(alpha=0.5), epochs=10)
result = fit(method, digits, Recipe(lr=0.05), seed=0)
print(f"epoch {result.selected_epoch}: test accuracy {result.test['test_accuracy']:.3f}")
