"""The DICOM objects that results become: a structured report of a score, and its overlay as a picture."""

from __future__ import annotations

import io
import uuid
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import highdicom
import numpy as np
import pydicom
from highdicom import sr
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from numpy.typing import NDArray
from pydicom.sr.codedict import codes
from pydicom.uid import UID, ExplicitVRLittleEndian

from anatpaste_gpu.notice import NOT_FOR_CLINICAL_USE

#: Where codes that no published scheme has are from.
SCHEME = "99ANATPASTE"
SCORE = sr.CodedConcept("ANOMALY_SCORE", SCHEME, "Anomaly score, higher is more abnormal")
NORMALISED = sr.CodedConcept("NORMALISED_SCORE", SCHEME, "Anomaly score over the validation set's range")
THRESHOLD = sr.CodedConcept("THRESHOLD", SCHEME, "Threshold; a score that reaches it is called abnormal")
DECISION = sr.CodedConcept("DECISION", SCHEME, "Decision by the threshold")
#: SNOMED CT's words for the two decisions.
DECISIONS = (sr.CodedConcept("17621005", "SCT", "Normal"), sr.CodedConcept("263654008", "SCT", "Abnormal"))
#: High numbers, where a study's own series do not end.
REPORT_SERIES, PICTURE_SERIES = 9101, 9102
SOFTWARE = "anatpaste_gpu"
# Of UIDs below 2.25, which need no registered root.
_NAMESPACE = uuid.UUID("0f3e3b58-6f2c-5d0b-9d0c-1c3fb6a1a6d7")
# None of them has to be there.
_MOMENTS_OF_MAKING = (
    *("InstanceCreationDate", "InstanceCreationTime", "DateOfSecondaryCapture", "TimeOfSecondaryCapture"),
    "ContributionDateTime",
)
# One score's last digits differ with the batch that it was scored in; one instance has one content.
_DIGITS = 7


def uid_of(*parts: str) -> UID:
    """The UID of these words: equal for equal ones, below 2.25 as UUIDs are."""
    return UID(f"2.25.{uuid.uuid5(_NAMESPACE, chr(10).join(parts)).int}")


@dataclass(frozen=True)
class Maker:
    """What made a result: equal ones make equal instances of equal images.

    Attributes:
        model: SHA-256 of the model file.
        recipe: hash of the recipe that it was trained by.
        method: the method's name.
        version: of this package.
        threshold: what decisions are made by.
    """

    model: str
    recipe: str
    method: str
    version: str
    threshold: float

    def uid(self, kind: str, source: str) -> UID:
        """The UID of what is made of an image or a series."""
        return uid_of(kind, source, self.model, self.version, repr(self.threshold))

    @property
    def equipment(self) -> dict[str, str]:
        """Attributes of the equipment that makes instances."""
        return {
            "manufacturer": SOFTWARE,
            "manufacturer_model_name": f"method {self.method}"[:64],
            "software_versions": self.version[:64],
            "device_serial_number": self.model,
        }


def report(
    header: pydicom.Dataset, maker: Maker, *, score: float, normalised: float, decision: int
) -> pydicom.Dataset:
    """A Comprehensive SR, measurement report (TID 1500), of one image's score.

    Args:
        header: of the image, from `source_header`.
        maker: what scored it.
        score: higher is more abnormal.
        normalised: 0 to 1 spans the validation set's scores.
        decision: 1 for abnormal.
    """
    instance = maker.uid("report", header.SOPInstanceUID)
    observer = sr.ObserverContext(
        codes.DCM.Device,
        sr.DeviceObserverIdentifyingAttributes(
            uid_of("device", maker.model), name=SOFTWARE, model_name=f"method {maker.method}"
        ),
    )
    identified = sr.AlgorithmIdentification(
        SOFTWARE, maker.version, [f"model SHA-256 {maker.model}", f"recipe SHA-256 {maker.recipe}"]
    )
    measured = ((SCORE, score), (NORMALISED, normalised), (THRESHOLD, maker.threshold))
    group = sr.MeasurementsAndQualitativeEvaluations(
        sr.TrackingIdentifier(maker.uid("finding", header.SOPInstanceUID), "whole image"),
        algorithm_id=identified,
        source_images=[sr.SourceImageForMeasurementGroup(header.SOPClassUID, header.SOPInstanceUID)],
        measurements=[
            sr.Measurement(name, float(f"{number:.{_DIGITS}g}"), codes.UCUM.NoUnits)
            for name, number in measured
        ],
        qualitative_evaluations=[sr.QualitativeEvaluation(DECISION, DECISIONS[decision])],
    )
    content = sr.MeasurementReport(
        sr.ObservationContext(observer_device_context=observer),
        codes.SCT.ImagingProcedure,
        imaging_measurements=[group],
    )
    content[0].ContentSequence.append(
        sr.TextContentItem(codes.DCM.Comment, NOT_FOR_CLINICAL_USE, sr.RelationshipTypeValues.CONTAINS)
    )
    return _made(
        lambda: sr.ComprehensiveSR(
            [header],
            content[0],
            maker.uid("reports", header.SeriesInstanceUID),
            REPORT_SERIES,
            instance,
            header.InstanceNumber,
            is_complete=True,
            series_description="Anomaly scores, research only",
            coding_schemes=[
                CodingSchemeIdentificationItem(
                    SCHEME, name=f"Codes of {SOFTWARE}", responsible_organization=SOFTWARE
                )
            ],
            content_date=header.ContentDate,
            content_time=header.ContentTime,
            **maker.equipment,
        )
    )


def picture(
    header: pydicom.Dataset, maker: Maker, painted: NDArray[np.uint8], meaning: str
) -> pydicom.Dataset:
    """A Secondary Capture image of heat over an image.

    Args:
        header: of the image, from `source_header`.
        maker: what scored it.
        painted: uint8 (H, W, 3), of the image's size.
        meaning: a sentence on what its colours say.
    """

    def made_of_it() -> Any:
        image = highdicom.sc.SCImage(
            painted,
            "RGB",
            8,
            "PATIENT",
            study_instance_uid=header.StudyInstanceUID,
            series_instance_uid=maker.uid("overlays", header.SeriesInstanceUID),
            series_number=PICTURE_SERIES,
            sop_instance_uid=maker.uid("overlay", header.SOPInstanceUID),
            instance_number=header.InstanceNumber,
            series_description="Heat maps of anomaly scores, research only",
            patient_orientation=("L", "F"),  # or whatever the source says, below
            transfer_syntax_uid=ExplicitVRLittleEndian,
            content_date=header.ContentDate,
            content_time=header.ContentTime,
            **maker.equipment,
        )
        image.copy_patient_and_study_information(header)
        return image

    made = _made(made_of_it)
    # Empty where they are not known, which the standard allows where it wants them at all.
    made.PatientOrientation = header.get("PatientOrientation", [])
    made.Laterality = header.get("Laterality", "")
    for keyword in ("SpecificCharacterSet", "BodyPartExamined", "BurnedInAnnotation"):
        if keyword in header:
            setattr(made, keyword, header[keyword].value)
    made.LossyImageCompression = header.get("LossyImageCompression", "00")
    if painted.shape[:2] == (header.Rows, header.Columns):
        for keyword in ("PixelSpacing", "ImagerPixelSpacing"):
            if keyword in header:
                setattr(made, keyword, header[keyword].value)
    made.DerivationDescription = f"{meaning} {NOT_FOR_CLINICAL_USE}"[:1024]
    made.SourceImageSequence = [_reference(header)]
    return made


def as_file(instance: pydicom.Dataset) -> bytes:
    """An instance as the bytes of a DICOM file."""
    content = io.BytesIO()
    instance.save_as(content, enforce_file_format=True)
    return content.getvalue()


def _reference(header: pydicom.Dataset) -> pydicom.Dataset:
    item = pydicom.Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
    purpose = codes.DCM.SourceImageForImageProcessingOperation
    item.PurposeOfReferenceCodeSequence = [sr.CodedConcept.from_code(purpose)]
    return item


def _made(make: Callable[[], Any]) -> pydicom.Dataset:
    """An instance without the moments at which it was made, which would differ in every run."""
    with warnings.catch_warnings():
        # One is about names without a caret, and has the patient's name in it.
        warnings.simplefilter("ignore", UserWarning)
        made: pydicom.Dataset = make()
    for part in (made, *made.ContributingEquipmentSequence):
        for keyword in _MOMENTS_OF_MAKING:
            if keyword in part:
                delattr(part, keyword)
    return made
