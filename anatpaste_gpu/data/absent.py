"""What to say where a data set is not there: where it comes from, on what terms, and which files are read."""

from __future__ import annotations

from anatpaste_gpu.data.licences import data_licence

LAYOUTS = {
    "zhanglab": "chest_xray/{train,test}/{NORMAL,PNEUMONIA}/*.jpeg",
    "rsna": "the challenge's own folder with stage_2_train_images/*.dcm, stage_2_detailed_class_info.csv and "
    "stage_2_train_labels.csv",
    "chexpert": "train.csv, valid.csv and the folders train and valid, as CheXpert-v1.0 and "
    "CheXpert-v1.0-small have them",
    "folder": "a folder named normal and, unless validation is pasted, one or more of any other names for "
    "the abnormal images, each with PNG, JPEG or DICOM files at any depth",
    "mvtec": "train/good, test/good and one or more folders of any other names beside it for the abnormal "
    "images, as a category of MVTec AD does",
}


def where_from(dataset: str) -> str:
    """A sentence or two: where the data set is published, its terms, and what its folder must hold."""
    licence = data_licence(dataset)
    source = f"It is published at {licence.address}. Licence: {licence.terms} " if licence.address else ""
    return f"{source}Its folder holds {LAYOUTS[dataset]}."
