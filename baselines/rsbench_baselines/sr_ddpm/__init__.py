"""Super-resolution by a conditional diffusion in pixel space that draws the residual."""

from rsbench_baselines._card import SAMPLER_TOLERANCE, preset, trained_card

_CONDITION = "the upsampled coarse image and its mask joined to the noisy residual; "

card = trained_card(
    "sr_ddpm",
    task="superresolve",
    title="Conditional denoising diffusion of what cubic convolution leaves out, sampled by DDIM",
    presets={
        "tiny": preset(
            73_468,
            _CONDITION + "8·(1, 2, 2), 8 steps; counted at 4 bands of both sensors",
            {
                "base": 8,
                "mult": (1, 2, 2),
                "num_res_blocks": 1,
                "attention": (),
                "sampling_steps": 8,
            },
            {"multiple_of": 4},
        ),
        "small": preset(
            19_409_924,
            _CONDITION + "64·(1, 2, 2, 4), 50 steps; counted at 4 bands of both sensors",
            {
                "base": 64,
                "mult": (1, 2, 2, 4),
                "num_res_blocks": 2,
                "attention": (2, 3),
                "sampling_steps": 50,
            },
            {"multiple_of": 8},
        ),
    },
    default_preset="small",
    citation="C. Saharia et al. Image super-resolution via iterative refinement. IEEE TPAMI 45 "
    "(2023), doi 10.1109/TPAMI.2022.3204461; J. Ho, A. Jain, P. Abbeel. Denoising diffusion "
    "probabilistic models. NeurIPS 2020; J. Song, C. Meng, S. Ermon. Denoising diffusion implicit "
    "models. ICLR 2021",
    licence="Apache-2.0 (written from the papers)",
    sampler_tolerance=SAMPLER_TOLERANCE,
)
