"""SkinSeg: the patient's skin from a head CT. The module that 3D Slicer loads.

Only Qt and MRML wiring; what is computed, and how, is in SkinSegLib beside this file.
"""

# Slicer's self-tests are unittest's, and pytest is not there.
# ruff: noqa: PT009, PT027

import logging
import os
import tempfile
import time

import slicer
import vtk
from SkinSegLib.core import Cancelled, Progress, SceneError
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin


class SkinSeg(ScriptedLoadableModule):
    """What Slicer's module list shows."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("SkinSeg")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = ["Volumes", "Models", "Segmentations", "SubjectHierarchy"]
        self.parent.contributors = ["The SkinSeg contributors"]
        self.parent.helpText = _(
            "Finds the patient's skin in a head CT, without table, head holder and pillow, and "
            "exports it as a closed surface. Select a volume and click <b>Segment skin</b>. "
            "Everything is computed on this computer. <b>Not a medical device.</b>"
        )
        self.parent.acknowledgementText = _(
            "SkinSeg is free software under the Apache License 2.0. It builds on 3D Slicer, VTK, "
            "SimpleITK, SciPy and NumPy."
        )
        slicer.app.connect("startupCompleted()", registerSampleData)
        slicer.app.connect("startupCompleted()", watchScene)


def watchScene():
    """Have our surfaces back in scenes that are loaded, and gone with their segmentations."""
    from SkinSegLib.mrml import watch_scene

    watch_scene()


def registerSampleData():
    """Offer the head phantom in Slicer's Sample Data module."""
    import SampleData

    logic = SampleData.SampleDataLogic
    if hasattr(logic, "registerCustomSampleDataCategory"):  # not yet in Slicer 5.10
        logic.registerCustomSampleDataCategory("SkinSeg", title=_("SkinSeg"))
    logic.registerCustomSampleDataSource(
        category="SkinSeg",
        sampleName="SkinSegPhantom",
        uris="",  # nothing is downloaded: the phantom is made on this computer
        nodeNames="SkinSegPhantom",
        thumbnailFileName=os.path.join(os.path.dirname(__file__), "Resources/Icons/SkinSeg.png"),
        customDownloader=loadPhantom,
    )


def loadPhantom(source=None):
    """Make the head phantom and add it to the scene; returns the list of volume nodes.

    ``source`` is what Sample Data hands over on a click; scripts call ``SkinSeg.loadPhantom()``.
    What goes wrong is shown, and raised again for the caller.
    """
    with slicer.util.tryWithErrorDisplay(_("The phantom could not be made."), waitCursor=True):
        from SkinSegLib import mrml
        from SkinSegLib.training.phantom import make_phantom

        node = mrml.add_volume(make_phantom().volume, "SkinSegPhantom")
        slicer.util.setSliceViewerLayers(background=node, fit=True)
        return [node]


class SkinSegWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel. What its sections do is in SkinSegLib.widgets; here is when Slicer asks for it."""

    def __init__(self, parent=None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.panel = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None
        self._selecting = False

    def setup(self) -> None:
        """Called once, when the user opens the module for the first time."""
        from SkinSegLib.widgets.build import build_panel, connect_selector

        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/SkinSeg.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        connect_selector(self.ui.parameterSetSelector, self.moduleName)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = SkinSegLogic()
        self.panel = build_panel(self.ui)
        watchScene()  # again: the module may have been added after the start
        slicer.app.connect("aboutToQuit()", self.panel.end_workers)

        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneEndImport)
        self.addObserver(scene, scene.NodeRemovedEvent, self.panel.update)
        self.ui.parameterSetSelector.connect(
            "currentNodeChanged(vtkMRMLNode*)", self.onParameterSet
        )
        self.initializeParameterNode()
        self.panel.start_worker()

    def cleanup(self) -> None:
        """Called when the application closes, and before the module is reloaded."""
        if self.panel is None or self.panel.closed:
            return
        slicer.app.disconnect("aboutToQuit()", self.panel.end_workers)
        self.panel.close()
        self.setParameterNode(None)
        self.removeObservers()

    def enter(self) -> None:
        """Called each time the user opens this module, also after an edit in another one."""
        self.initializeParameterNode()
        self.panel.enter()

    def exit(self) -> None:
        """Called each time the user opens another module; what runs goes on."""
        self.panel.leave()
        if not self.panel.is_busy:
            self.setParameterNode(None)

    def onSceneStartClose(self, caller, event) -> None:
        """A run that is under way has lost its volume: stop it."""
        self.panel.scene_closes()
        self.setParameterNode(None)

    def onSceneEndClose(self, caller, event) -> None:
        self.panel.scene_closed()
        if self.parent.isEntered:
            self.initializeParameterNode()

    def onSceneEndImport(self, caller, event) -> None:
        if self.parent.isEntered:
            self.initializeParameterNode()

    def onParameterSet(self, node) -> None:
        """The user chose another set of choices, or made one."""
        if self._selecting or self.panel.closed or not self.parent.isEntered:
            return
        if node is not None:
            self.setParameterNode(self.logic.wrapped(node))
        elif not slicer.mrmlScene.IsClosing():
            self.initializeParameterNode()  # the last one was removed

    def initializeParameterNode(self) -> None:
        """Have a parameter node, and a volume selected if there is one."""
        chosen = self.ui.parameterSetSelector.currentNode()
        if chosen is not None:
            self.setParameterNode(self.logic.wrapped(chosen))
        else:
            self.setParameterNode(self.logic.getParameterNode())
        if not self._parameterNode.inputVolume:
            # Labelmaps and colour images are scalar volumes too, by their classes.
            nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
            scans = [n for n in nodes if n.GetClassName() == "vtkMRMLScalarVolumeNode"]
            if scans:
                self._parameterNode.inputVolume = scans[0]

    def setParameterNode(self, parameterNode) -> None:
        """Connect the panel to a parameter node (SkinSegParameterNode), or to none."""
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            # Of the node, not of the wrapper: the observations would keep every wrapper alive.
            node = self._parameterNode.parameterNode
            self.removeObserver(node, vtk.vtkCommand.ModifiedEvent, self.panel.update)
        self._parameterNode = parameterNode
        if self._parameterNode:
            self._parameterNodeGuiTag = self._parameterNode.connectGui(self.ui)
            node = self._parameterNode.parameterNode
            self.addObserver(node, vtk.vtkCommand.ModifiedEvent, self.panel.update)
            self._selecting = True
            self.ui.parameterSetSelector.setCurrentNode(self._parameterNode.parameterNode)
            self._selecting = False
        self.panel.connect(self._parameterNode)


class SkinSegLogic(ScriptedLoadableModuleLogic):
    """The job on nodes, without a panel. One run at a time."""

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        #: Of the last run that came to its end: a SkinSegLib.mrml.JobResult.
        self.result = None
        self._running = False
        self._cancelled = False

    def getParameterNode(self):
        return self.wrapped(super().getParameterNode())

    @staticmethod
    def wrapped(node):
        """A vtkMRMLScriptedModuleNode of this module as SkinSegParameterNode."""
        from SkinSegLib.widgets.parameters import wrapped

        return wrapped(node)

    def isRunning(self) -> bool:
        return self._running

    def isCancelled(self) -> bool:
        return self._cancelled

    def cancel(self) -> None:
        """Stop a run at its next step, from within its ``report`` or an event it lets through."""
        self._cancelled = self._running

    def process(self, volumeNode, options=None, report=None, layerThickness=None):
        """Segment a vtkMRMLScalarVolumeNode; returns a new vtkMRMLSegmentationNode.

        :param volumeNode: the scan, below any transform
        :param options: SkinSegLib.mrml.JobOptions, by default those of the library
        :param report: called with (stage, fraction 0..1 of the whole job); may call cancel()
        :param layerThickness: of the segment Skin in mm, where no options are given
        :raises SkinSegError: with a message for the user; Cancelled after cancel(). Then the
            scene is as it was.
        """
        from SkinSegLib import mrml

        if self._running:
            raise SceneError("A segmentation is running already. Wait for it, or cancel it.")
        if options is None:
            options = mrml.JobOptions(layer_mm=layerThickness or mrml.JobOptions().layer_mm)

        def step(stage: str, fraction: float) -> None:
            if report:
                report(stage, fraction)
            if volumeNode.GetScene() is None and not self._cancelled:
                raise SceneError("The volume was removed, so the segmentation was stopped.")

        self._running, self._cancelled = True, False
        try:
            progress = Progress(step, self.isCancelled)
            node, self.result = mrml.segment_volume(volumeNode, options, progress)
        finally:
            self._running, self._cancelled = False, False
        seconds = {stage: round(value, 2) for stage, value in self.result.seconds.items()}
        logging.info("SkinSeg finished; seconds per stage: %s", seconds)
        return node

    def export(self, segmentationNode, path, segmentId="Head", space="LPS"):
        """Write the closed surface of a segment to a file; see SkinSegLib.surface.FORMATS."""
        from SkinSegLib import mrml

        if segmentationNode is None:
            raise SceneError("There is no segmentation to export. Segment a volume first.")
        return mrml.export_surface(segmentationNode, path, segmentId, space)

    def rebuildSurface(self, segmentationNode) -> bool:
        """Make the head's surface again if its segment was edited; whether that was so."""
        from SkinSegLib import mrml

        if segmentationNode is None:
            return False
        return mrml.rebuild_surface(segmentationNode, mrml.HEAD.segment_id) is not None

    def exportName(self, segmentationNode, segmentId="Head"):
        """The file name to propose for a segment: its own name, made safe for every system."""
        from SkinSegLib import mrml

        return mrml.export_name(segmentationNode, segmentId)

    def makeModel(self, segmentationNode, segmentId="Head"):
        """Add a segment's closed surface to the scene as a vtkMRMLModelNode, which is returned."""
        from SkinSegLib import mrml

        return mrml.add_model(segmentationNode, segmentId)


class SkinSegTest(ScriptedLoadableModuleTest):
    """Runs inside Slicer (ctest, Reload and Test) and, by the test host, under pytest.

    The inherited runTest() runs all methods that start with ``test_``, as ctest does.
    """

    def setUp(self):
        slicer.mrmlScene.Clear()

    def _head(self):
        """A small, noisy ball of tissue in air, with an ear on the patient's left only."""
        import numpy as np
        from SkinSegLib import mrml
        from SkinSegLib.core import CTVolume

        spacing, shape = np.array([2.5, 2.5, 3.0]), (72, 88, 76)
        k, j, i = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
        axes = zip((i, j, k), shape[::-1], spacing, strict=True)
        r, a, s = ((index - (n - 1) / 2) * step for index, n, step in axes)
        head = (r / 70) ** 2 + (a / 88) ** 2 + (s / 85) ** 2 < 1
        head |= ((r + 74) / 10) ** 2 + (a / 14) ** 2 + (s / 18) ** 2 < 1
        matrix = np.diag([*spacing, 1.0])
        matrix[:3, 3] = -spacing * (np.array(shape[::-1]) - 1) / 2
        noise = np.random.default_rng(0).normal(0, 12, shape)
        voxels = np.rint(np.where(head, 40, -1000) + noise).astype(np.int16)
        return mrml.add_volume(CTVolume(voxels, matrix), "SkinSegTest"), head

    def test_segments_the_head(self):
        import numpy as np
        from SkinSegLib import mrml

        volume, truth = self._head()
        node = SkinSegLogic().process(volume)
        self.assertEqual(node.GetSegmentation().GetSegmentIDs(), ("Head", "Skin"))
        voxels, _matrix = mrml.segment_labelmap(node, "Head")
        found, there = int(np.count_nonzero(voxels)), int(np.count_nonzero(truth))
        self.assertLess(abs(found - there), 0.02 * there)
        self.delayDisplay("Segmented")

    def test_exports_a_closed_surface_with_left_on_the_left(self):
        volume, _truth = self._head()
        logic = SkinSegLogic()
        node = logic.process(volume)
        with tempfile.TemporaryDirectory() as folder:
            path = logic.export(node, os.path.join(folder, "skin.stl"))
            reader = vtk.vtkSTLReader()
            reader.SetFileName(str(path))
            reader.Update()
        edges = vtk.vtkFeatureEdges()
        edges.SetInputConnection(reader.GetOutputPort())
        edges.FeatureEdgesOff()
        edges.Update()
        self.assertEqual(edges.GetOutput().GetNumberOfCells(), 0)
        low, high = reader.GetOutput().GetBounds()[:2]
        self.assertGreater(high, 80)  # files are LPS: the ear is at +L
        self.assertGreater(low, -73)

    def test_scene_comes_back_from_a_file(self):
        from SkinSegLib import mrml

        volume, _truth = self._head()
        SkinSegLogic().process(volume)
        with tempfile.TemporaryDirectory() as folder:
            path = mrml.save_scene(os.path.join(folder, "scene.mrb"))
            nodes = mrml.load_scene(path)
        self.assertEqual(len(nodes), 1)
        self.assertEqual(mrml.restore_surface(nodes[0]), ("Head", "Skin"))

    def test_cancelling_leaves_the_scene_alone(self):
        volume, _truth = self._head()
        logic = SkinSegLogic()
        before = slicer.mrmlScene.GetNumberOfNodes()
        with self.assertRaises(Cancelled):
            logic.process(volume, report=lambda stage, fraction: logic.cancel())
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodes(), before)
        self.assertFalse(logic.isRunning())

    def test_says_what_is_wrong_with_a_volume(self):
        empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
        with self.assertRaisesRegex(SceneError, "no voxels"):
            SkinSegLogic().process(empty)

    def test_runs_in_a_process_of_its_own(self):
        from SkinSegLib.mrml.jobs import SegmentJob
        from SkinSegLib.widgets.worker_process import PanelWorker

        volume, _truth = self._head()
        there = SkinSegLogic().process(volume)
        work, ended = PanelWorker(), []
        try:
            work.start()
            work.runner.start(
                SegmentJob(volume),
                done=ended.append,
                failed=ended.append,
                cancelled=lambda: ended.append(Cancelled()),
            )
            end = time.monotonic() + 300
            while not ended and time.monotonic() < end:
                slicer.app.processEvents()
        finally:
            work.close()
        self.assertTrue(ended, "the worker did not answer")
        if isinstance(ended[0], Exception):
            raise ended[0]
        node, _result = ended[0]
        self._assertSame(there, node)
        self.assertFalse(work.worker.is_running)

    def _assertSame(self, first, second):
        import numpy as np
        from SkinSegLib import mrml

        for segmentId in ("Head", "Skin"):
            one, two = (mrml.segment_labelmap(node, segmentId)[0] for node in (first, second))
            self.assertTrue(np.array_equal(one, two))

    def test_the_brush_paints_only_tissue(self):
        import numpy as np
        from SkinSegLib import mrml
        from SkinSegLib.mrml.editing import IntensityRanges, editor_node
        from vtk.util.numpy_support import vtk_to_numpy

        if not hasattr(slicer, "vtkSlicerSegmentEditorLogic"):
            self.skipTest("Slicer has no segment editor logic of its own before 5.12")
        volume, truth = self._head()
        node = SkinSegLogic().process(volume)
        before = np.count_nonzero(mrml.segment_labelmap(node, "Head")[0])
        editor = editor_node()
        editor.SetActiveEffectName("Paint")
        IntensityRanges(editor).set_level(-480.0, 200.0)
        self.assertTrue(editor.GetSourceVolumeIntensityMask())
        logic = slicer.vtkSlicerSegmentEditorLogic()
        logic.SetMRMLScene(slicer.mrmlScene)
        logic.SetSegmentEditorNode(editor)
        logic.SetSegmentationNode(node)
        logic.SetSourceVolumeNode(volume)
        logic.SetCurrentSegmentID("Head")
        for update in ("AlignedSourceVolume", "MaskLabelmap", "ReferenceGeometryImage"):
            getattr(logic, f"Update{update}")()
        logic.ResetModifierLabelmapToDefault()
        image = logic.GetModifierLabelmap()
        vtk_to_numpy(image.GetPointData().GetScalars())[:] = 1  # the whole scan, air and all
        image.Modified()
        logic.ModifySegmentByLabelmap(node, "Head", image, logic.ModificationModeAdd, False, False)
        after = np.count_nonzero(mrml.segment_labelmap(node, "Head")[0])
        self.assertGreaterEqual(after, before)
        self.assertLess(after, 1.02 * np.count_nonzero(truth))
