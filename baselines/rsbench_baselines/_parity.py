"""What of every model was compared with which reference, and what was not; imports no torch.

Differences are the largest of any value, with equal weights or inputs on both sides. "The
released code" is the authors'; it was run beside the model once and is no part of the tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_LOOPS = "The tests compare it with loops over pixels in NumPy."
FORMULA = f"A formula without a reference program. {_LOOPS}"
"""Of every model that is a formula."""
_RECORDED = (
    "The tests compare it with a second implementation in NumPy and its recorded outputs; leaving "
    "out one norm, activation or shortcut of a block changes them"
)

PARITY: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(
            ("pixel_lda", "window_lda"),
            "With scikit-learn's LinearDiscriminantAnalysis: probabilities agree to 1e-4.",
        ),
        "bicubic": "With Pillow's cubic convolution: images agree to 1e-5.",
        "simvp": "With OpenSTL's code: gSTA (paper, mmnist, kitti) and IncepU agree to 1e-14, "
        "gradients of paper and IncepU to 4e-15 (float64); drop-path rates and initial values "
        f"agree. {_RECORDED}. Not compared: a training.",
        "predrnn": "With OpenSTL's code: both versions (mmnist, kitti, paper) agree to 3e-8, the "
        "bare network of the first exactly (float64); loss and sampling schedules agree. "
        f"{_RECORDED}. Not compared: a training.",
        "ddpm": "Written from the papers, without a reference program. The tests check schedule, "
        "posterior and samplers against theory and compare the U-Net with a second implementation "
        "in NumPy and its recorded outputs; leaving out one norm, activation or shortcut of a "
        "block changes them. Not compared: a training.",
        "sr_ddpm": "U-Net and sampler are those of ddpm, compared there. Not compared: a training.",
        "diffusionsat": "Written from descriptions and from classes of diffusers; the released "
        "program was not run. The tests check the parameters of every part, the metadata numbers, "
        "the schedule, and samplers against theory. Not compared: a forward pass, released "
        "weights, a training.",
        "diffusionsat_sr": "The parts are those of diffusionsat, tested there. Not compared: a "
        "forward pass, released weights, a training.",
        "text2earth": "The U-Net is that of diffusers, the sampler that of diffusionsat. The tests "
        "check levels and parameters. Not compared: the number of levels, released weights, a "
        "training.",
        "crs_diff": "Written from descriptions and from classes of diffusers; the released program "
        "was not run. The tests check the parameters of every part and the metadata numbers. Not "
        "compared: a forward pass, released weights, a training.",
        **dict.fromkeys(
            ("satsynth", "satsynth_sr"),
            "Schedule, sampler and U-Net are those of ddpm, compared there. The tests check the "
            "bit planes by hand and drawing under a map of classes against theory. Not compared: "
            "a training; no code of the authors is public.",
        ),
        "mcvd": "With the released code, after its time code and the epsilon of its norms had been "
        "adopted: paper agrees to 2e-15 (float64), the SPADE form to 6e-7 and samplers to 4e-6 "
        f"(float32); of the big and kth forms only the counts. {_RECORDED}. Not compared: a "
        "training.",
        "sat_jepa_diff": "With the released code: encoder and predictor agree to 1e-14, also "
        "masked, the adapter to 3e-15 (float64); history encoding to 5e-8, hybrid loss to 7e-7 "
        "apart from its stated constant, the one-step sampler too. Of encoder, predictor and "
        "adapter: the tests compare them with a second implementation in NumPy and its recorded "
        "outputs; leaving out one norm, activation or shortcut of a block changes them. Not "
        "compared: the gated prior, a training.",
        "cross_scale": "LatentMIM with a transcription of its released code, from which gaps, "
        "position codes and epsilons were taken: tokens, predictions and both losses agree "
        "to 3e-7 (weights in float64, codes in float32). Encoder and predictor of I-JEPA are those "
        f"of sat_jepa_diff, compared there. {_RECORDED}. Heads: the discriminant with "
        "scikit-learn's, to 1e-4. Not compared: a training, the published tables.",
        "sd35": "The sampler is that of sat_jepa_diff, compared there. The tests compare what "
        "stands around the prior (conditions, low-rank updates, scales of latents, one step) with "
        "a second implementation in NumPy and its recorded outputs, with stand-ins for the "
        "prior. Not compared: the gated prior, a training.",
        "random_encoder": "The encoder is that of sat_jepa_diff, compared there; the discriminant "
        "that of pixel_lda.",
        "vae_roundtrip": "Not compared: the VAE, whose weights are gated.",
        "random_adapter": "The adapter is that of sat_jepa_diff, compared there. Not compared: the "
        "gated prior.",
        "starfm": "With starfm4py, both filters, interior of a real pair: 1.7e-7 of reflectance. "
        f"{_LOOPS}",
        "estarfm": "With the Python program of the method's authors, on a real pair of 64×64 "
        "pixels, in reflectance: 1e-8 with its F-test, but for one of 12,288 values at the limit "
        "of the test (4e-4); default, which has no such test, differs by 5e-6 in the mean and "
        "0.024 at most; authors from their fast program by more than 1e-4 at 0.1 % of values "
        f"(1.2e-3 at most), probably by ties of rank. {_LOOPS}",
        "fsdaf": "With the Python program of the method's authors, classes given, on a real pair "
        "of 192×192 pixels: mean difference 7e-4 of reflectance, RMSE 0.0179 against their "
        "0.0180. Their spatial prediction is multiquadric, ours a thin-plate spline equal to "
        "SciPy's to 4e-8; their order statistics were adopted since. Not compared: ISODATA. "
        f"{_LOOPS}",
        "sa_stf": "With a transcription of the released code: official agrees to 6e-7, its sampler "
        "to 3e-6 (float32); the perceptual loss exactly, with random VGG weights, after its taps "
        "had been adopted. Preset official: "
        f"{_RECORDED[0].lower()}{_RECORDED[1:]}. Preset paper: loops over pixels in NumPy. Not "
        "compared: released weights, other presets, a training.",
        "rddm": "With the released code, after its time code and attention scale had been adopted: "
        "the U-Net agrees to 7e-6, the schedule to 3e-8, the clipped sampler to 2e-7 (float32). "
        f"Its use for fusion is our reading. {_RECORDED}. Not compared: a training.",
        "stfdiff": "With the released code, whose time code was adopted since: the network agrees "
        f"to 5e-6, the sampler to 6e-8 (float32). {_RECORDED}. Not compared: released weights, a "
        "training.",
        "swinstfm": "With the released code, whose two faults of the attention were mended for "
        "this: a network of this wiring agrees to 2e-14 (float64), the loss to 5e-8. The fusion "
        "block of preset released agrees exactly with a transcription of the released block. "
        f"{_RECORDED}. Not compared: released weights, a training.",
        "mlff_gan": "With the released code: a generator of this wiring agrees to 7e-15, the "
        f"discriminator exactly (float64). {_RECORDED}. Not compared: released weights, a "
        "training.",
        "stfmamba": "With the released code: scan block and sharpening network agree to 3e-7, an "
        "encoder of this wiring to 3e-6 (float32), the loss to 5e-8. With a transcription of the "
        "released wiring around the same scan blocks, decoder, join and whole network agree to "
        f"1e-14 (float64). {_RECORDED}. Not compared: released weights, a training.",
    }
)
"""By name of the model, for models that are more than a formula."""
