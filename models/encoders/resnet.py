"""ResNet-18 and ResNet-50 for images, spectrograms and frames: torchvision's networks.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, as the audio-video and image-text experiments of
the field use them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from models import linear
from models.encoders.base import ACTIVATIONS, Encoder, EncoderOptions, Shape, all_count, places
from models.encoders.checkpoints import load_weights, read_weights


class ResNetOptions(EncoderOptions):
    """Base of the options of both: a name of a weight set is no path."""

    pretrained: str | None

    def weights_may_be_elsewhere(self) -> bool:
        return self.pretrained is not None and self.pretrained.isidentifier()


class ResNet18Options(ResNetOptions):
    pretrained: str | None = Field(
        None,
        min_length=1,
        description="null: random weights; a weight set of torchvision (IMAGENET1K_V1); or a local file",
    )
    activation: Literal["relu", "gelu"] = Field("relu", description="after every batch norm and sum")


class ResNet50Options(ResNetOptions):
    pretrained: str | None = Field(
        None,
        min_length=1,
        description="null: random weights; a weight set of torchvision (IMAGENET1K_V1, IMAGENET1K_V2); or a local file",
    )
    activation: Literal["relu", "gelu"] = Field("relu", description="after every batch norm and sum")
    image_feature: Literal["pooled", "class_scores"] = Field(
        "pooled", description="2048 pooled maps, or the 1000 class scores of the last layer"
    )


class _ResNet(Encoder):
    """torchvision's network up to the average pool: spectrograms [1, F, T], images [C, H, W], and stacks of frames
    [C, T, H, W], whose features are averaged over the T frames.

    For fusion between stages it can be run in parts: :meth:`stem`, then each of :attr:`stages`."""

    maps: ClassVar[int]
    """Channels of the last maps."""

    def __init__(self, shape: Shape, options: ResNet18Options | ResNet50Options, class_scores: bool) -> None:
        super().__init__()
        self.require(shape, options)
        import torchvision.models

        pretrained, activation = options.pretrained, options.activation
        self.backbone = getattr(torchvision.models, self.name)(weights=None)
        classes = self.backbone.fc.out_features
        self.backbone.fc = linear(self.maps, classes) if class_scores else nn.Identity()
        self.class_scores, self.out_dim = class_scores, classes if class_scores else self.maps
        if shape[0] != 3:
            self.backbone.conv1 = nn.Conv2d(shape[0], 64, 7, stride=2, padding=3, bias=False)
            nn.init.kaiming_normal_(self.backbone.conv1.weight, mode="fan_out", nonlinearity="relu")
        if activation != "relu":
            for module in list(self.backbone.modules()):
                if hasattr(module, "relu"):
                    module.relu = ACTIVATIONS[activation]()
        if pretrained is not None:
            weights = _read(pretrained, torchvision.models.get_model_weights(self.name))
            if not class_scores:
                weights = {name: tensor for name, tensor in weights.items() if not name.startswith("fc.")}
            load_weights(self.backbone, weights, input_layer="conv1.weight").tell(pretrained)

    @classmethod
    def fits(cls, shape: Shape, options: Any) -> bool:
        return len(shape) in (3, 4) and min(shape) >= 1

    @classmethod
    def takes(cls, options: Any) -> str:
        return "[C, H, W], or [C, T, H, W] for T frames"

    @classmethod
    def stage_count(cls, options: Any) -> int:
        return 4

    @property
    def stages(self) -> list[nn.Module]:
        """List the four residual layers, whose last maps the feature is the mean of."""
        if self.class_scores:
            raise AttributeError(f"the stages of {self.name} end in maps, not in class scores")
        return self._layers

    @property
    def _layers(self) -> list[nn.Module]:
        net = self.backbone
        return [net.layer1, net.layer2, net.layer3, net.layer4]

    def stem(self, x: Tensor) -> Tensor:
        """Apply what comes before the residual layers: [B, C, H, W] -> [B, 64, H/4, W/4] (sizes rounded up); frames are
        folded into the batch, [B, C, T, H, W] -> [B T, 64, H/4, W/4], those of a sample side by side."""
        if x.dim() == 5:
            x = x.transpose(1, 2).flatten(0, 1)
        net = self.backbone
        return net.maxpool(net.relu(net.bn1(net.conv1(x))))

    @property
    def token_dim(self) -> int:
        return self.maps

    def tokens(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[B, C, H, W] or [B, C, T, H, W] -> [B, L, D]: the places of the last maps, row by row, frame after frame."""
        return all_count(places(self._last_maps(x), len(x)))

    def _last_maps(self, x: Tensor) -> Tensor:
        maps = self.stem(x)
        for layer in self._layers:
            maps = layer(maps)
        return maps

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] or [B, C, T, H, W] -> [B, out_dim]."""
        maps = self._last_maps(x)
        frames = x.shape[2] if x.dim() == 5 else 1
        return self.backbone.fc(self.backbone.avgpool(maps).reshape(len(x), frames, self.maps).mean(1))


class ResNet18(_ResNet):
    __doc__ = _ResNet.__doc__

    name = "resnet18"
    Options = ResNet18Options
    maps = 512

    def __init__(self, shape: Shape, options: ResNet18Options | None = None) -> None:
        options = options or ResNet18Options()
        super().__init__(shape, options, class_scores=False)


class ResNet50(_ResNet):
    __doc__ = _ResNet.__doc__

    name = "resnet50"
    Options = ResNet50Options
    maps = 2048

    def __init__(self, shape: Shape, options: ResNet50Options | None = None) -> None:
        options = options or ResNet50Options()
        super().__init__(shape, options, options.image_feature == "class_scores")

    @classmethod
    def stage_count(cls, options: ResNet50Options) -> int:
        return 0 if options.image_feature == "class_scores" else 4


def _read(pretrained: str, sets: Any) -> dict[str, Tensor]:
    """Read weights by the name of one of torchvision's weight sets, or from a file."""
    if pretrained in sets.__members__:
        try:
            return dict(sets[pretrained].get_state_dict(check_hash=True))
        except OSError as error:
            raise ValueError(
                f"pretrained: the weight set {pretrained} could not be fetched ({error}); give the path of a local file"
            ) from error
    path = Path(pretrained).expanduser()
    if not path.is_file():
        names = ", ".join(sets.__members__)
        raise ValueError(f"pretrained: {pretrained!r} is neither a file nor a weight set of torchvision ({names})")
    return read_weights(path)
