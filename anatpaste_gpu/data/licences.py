"""Under which terms the data sets are shared, and whom to cite; on every page that shows their images."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DataLicence:
    """Terms of one data set.

    Attributes:
        title: the data set's full name.
        terms: a sentence about its licence.
        citation: whom to cite.
        address: where it is published; empty where it is made by code.
    """

    title: str
    terms: str
    citation: str
    address: str


_KNOWN = {
    "demo": DataLicence(
        "Radiograph phantoms made by code",
        "Part of this software, under its Apache-2.0 licence; no patient's images.",
        "",
        "",
    ),
    "zhanglab": DataLicence(
        "Zhanglab chest radiographs",
        "Creative Commons Attribution 4.0 (CC BY 4.0).",
        "Kermany, Zhang, Goldbaum: Labeled Optical Coherence Tomography and Chest X-Ray Images for "
        "Classification, Mendeley Data, 2018; Kermany et al., Cell 172, 2018.",
        "https://data.mendeley.com/datasets/rscbjbr9sj",
    ),
    "rsna": DataLicence(
        "RSNA Pneumonia Detection Challenge",
        "For non-commercial, academic research and education under the RSNA's terms of use; the images are "
        "from the NIH Clinical Center's ChestX-ray8, which asks to be credited.",
        "Shih et al., Radiology: Artificial Intelligence 1 (1), 2019; Wang et al., CVPR 2017.",
        "https://www.kaggle.com/c/rsna-pneumonia-detection-challenge",
    ),
    "chexpert": DataLicence(
        "CheXpert",
        "Stanford University's research use agreement: non-commercial research, no redistribution. "
        "A page with these images must not be passed on.",
        "Irvin et al., AAAI 2019.",
        "https://stanfordmlgroup.github.io/competitions/chexpert",
    ),
}


def data_licence(dataset: str) -> DataLicence:
    """The terms of a data set by its name; for an unknown one a sentence that says so."""
    unknown = DataLicence(
        dataset,
        "Not known to this software; ask whoever owns the images before passing this page on.",
        "",
        "",
    )
    return _KNOWN.get(dataset, unknown)
