# What this project uses of torchvision, which ships no types.
from torch import nn

class ResNet(nn.Module):
    conv1: nn.Module
    bn1: nn.Module
    relu: nn.Module
    maxpool: nn.Module
    layer1: nn.Module
    layer2: nn.Module
    layer3: nn.Module
    layer4: nn.Module

def resnet50(*, weights: None) -> ResNet: ...
