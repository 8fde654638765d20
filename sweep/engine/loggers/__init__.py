"""MLflow and Weights & Biases beside the results, for sweeps that ask for them with ``loggers``.

In comes what the display hears of runs (started, trained on, ended); out go parameters, curves and ends to the
services, through their own clients, from the driver alone: training processes know nothing of them. Whatever a service
does, no run waits for it and no sweep ends because of it. The package of a service is imported where a sweep asks for
it, by its module here and by nothing else; other rooms use the public names alone."""

from sweep.engine.loggers.loggers import ServiceClient, ServiceLogger, logging_to_services

__all__ = ["ServiceClient", "ServiceLogger", "logging_to_services"]
