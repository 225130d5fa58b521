"""The topologies that recordings come in: facts of the formats, each checked against real files where there are any."""

from skeletonllm.skeleton.topology import Topology


def _tree(name: str, joints: str, dims: int = 3) -> Topology:
    """A topology from `joint<parent` words."""
    pairs = [word.split("<") for word in joints.split()]
    names = tuple(joint for joint, _ in pairs)
    parents = tuple(-1 if parent == "-" else names.index(parent) for _, parent in pairs)
    return Topology.from_names(name, names, parents, dims)


TOPOLOGIES = {
    topology.name: topology
    for topology in (
        # Hand tips and thumbs hang on the hand, as in anatomy; the usual NTU graph hangs the tip on the thumb.
        _tree(
            "kinect_v2_25",
            """spine_base<- spine_mid<spine_base neck<spine_shoulder head<neck shoulder_left<spine_shoulder
            elbow_left<shoulder_left wrist_left<elbow_left hand_left<wrist_left
            shoulder_right<spine_shoulder elbow_right<shoulder_right wrist_right<elbow_right
            hand_right<wrist_right hip_left<spine_base knee_left<hip_left ankle_left<knee_left
            foot_left<ankle_left hip_right<spine_base knee_right<hip_right ankle_right<knee_right
            foot_right<ankle_right spine_shoulder<spine_mid hand_tip_left<hand_left thumb_left<hand_left
            hand_tip_right<hand_right thumb_right<hand_right""",
        ),
        _tree(
            "kinect_v1_20",
            """hip_center<- spine<hip_center shoulder_center<spine head<shoulder_center shoulder_left<shoulder_center
            elbow_left<shoulder_left wrist_left<elbow_left hand_left<wrist_left
            shoulder_right<shoulder_center elbow_right<shoulder_right wrist_right<elbow_right
            hand_right<wrist_right hip_left<hip_center knee_left<hip_left ankle_left<knee_left
            foot_left<ankle_left hip_right<hip_center knee_right<hip_right ankle_right<knee_right
            foot_right<ankle_right""",
        ),
        _tree(
            "msraction3d_20",
            """shoulder_left<shoulder_center shoulder_right<shoulder_center shoulder_center<spine spine<hip_center
            hip_left<hip_center hip_right<hip_center hip_center<- elbow_left<shoulder_left
            elbow_right<shoulder_right wrist_left<elbow_left wrist_right<elbow_right
            hand_left<wrist_left hand_right<wrist_right knee_left<hip_left knee_right<hip_right
            ankle_left<knee_left ankle_right<knee_right foot_left<ankle_left foot_right<ankle_right
            head<shoulder_center""",
        ),
        _tree(
            "utdmhad_20",
            """head<shoulder_center shoulder_center<spine spine<hip_center hip_center<- shoulder_left<shoulder_center
            elbow_left<shoulder_left wrist_left<elbow_left hand_left<wrist_left
            shoulder_right<shoulder_center elbow_right<shoulder_right wrist_right<elbow_right
            hand_right<wrist_right hip_left<hip_center knee_left<hip_left ankle_left<knee_left
            foot_left<ankle_left hip_right<hip_center knee_right<hip_right ankle_right<knee_right
            foot_right<ankle_right""",
        ),
        _tree(
            "florence_15",
            """head<neck neck<spine spine<- shoulder_left<neck elbow_left<shoulder_left wrist_left<elbow_left
            shoulder_right<neck elbow_right<shoulder_right wrist_right<elbow_right hip_left<spine
            knee_left<hip_left ankle_left<knee_left hip_right<spine knee_right<hip_right
            ankle_right<knee_right""",
        ),
        _tree(
            "kard_15",
            """head<neck neck<torso shoulder_right<neck elbow_right<shoulder_right hand_right<elbow_right
            shoulder_left<neck elbow_left<shoulder_left hand_left<elbow_left torso<- hip_right<torso
            knee_right<hip_right foot_right<knee_right hip_left<torso knee_left<hip_left
            foot_left<knee_left""",
        ),
        _tree(
            "cad60_15",
            """head<neck neck<torso torso<- shoulder_left<neck elbow_left<shoulder_left shoulder_right<neck
            elbow_right<shoulder_right hip_left<torso knee_left<hip_left hip_right<torso
            knee_right<hip_right hand_left<elbow_left hand_right<elbow_right foot_left<knee_left
            foot_right<knee_right""",
        ),
        _tree(
            "uiprmd_22",
            """waist<- spine<waist chest<spine neck<chest head<neck head_tip<head left_collar<chest
            left_upper_arm<left_collar left_forearm<left_upper_arm left_hand<left_forearm
            right_collar<chest right_upper_arm<right_collar right_forearm<right_upper_arm
            right_hand<right_forearm left_upper_leg<waist left_lower_leg<left_upper_leg
            left_foot<left_lower_leg left_leg_toes<left_foot right_upper_leg<waist
            right_lower_leg<right_upper_leg right_foot<right_lower_leg right_leg_toes<right_foot""",
        ),
        # Rigid markers on the segments, not joints.
        _tree(
            "keraal_vicon_17",
            """right_forearm<right_arm left_forearm<left_arm right_arm<right_shoulder left_arm<left_shoulder chest<hips
            right_thigh<hips left_thigh<hips right_shoulder<chest left_shoulder<chest
            right_hand<right_forearm left_hand<left_forearm right_foot<right_tibia left_foot<left_tibia
            hips<- head<chest right_tibia<right_thigh left_tibia<left_thigh""",
        ),
        _tree(
            "coco_17",
            """nose<- left_eye<nose right_eye<nose left_ear<left_eye right_ear<right_eye left_shoulder<nose
            right_shoulder<nose left_elbow<left_shoulder right_elbow<right_shoulder
            left_wrist<left_elbow right_wrist<right_elbow left_hip<left_shoulder
            right_hip<right_shoulder left_knee<left_hip right_knee<right_hip left_ankle<left_knee
            right_ankle<right_knee""",
            dims=2,
        ),
        # Body and feet of the 133; face and hands are left out.
        _tree(
            "coco_wholebody_23",
            """nose<- left_eye<nose right_eye<nose left_ear<left_eye right_ear<right_eye left_shoulder<nose
            right_shoulder<nose left_elbow<left_shoulder right_elbow<right_shoulder
            left_wrist<left_elbow right_wrist<right_elbow left_hip<left_shoulder
            right_hip<right_shoulder left_knee<left_hip right_knee<right_hip left_ankle<left_knee
            right_ankle<right_knee left_big_toe<left_ankle left_small_toe<left_big_toe
            left_heel<left_ankle right_big_toe<right_ankle right_small_toe<right_big_toe
            right_heel<right_ankle""",
            dims=2,
        ),
        _tree(
            "openpose_18",
            """nose<neck neck<- right_shoulder<neck right_elbow<right_shoulder right_wrist<right_elbow
            left_shoulder<neck left_elbow<left_shoulder left_wrist<left_elbow right_hip<right_shoulder
            right_knee<right_hip right_ankle<right_knee left_hip<left_shoulder left_knee<left_hip
            left_ankle<left_knee right_eye<nose left_eye<nose right_ear<right_eye left_ear<left_eye""",
            dims=2,
        ),
        _tree(
            "openpose_25",
            """nose<neck neck<mid_hip right_shoulder<neck right_elbow<right_shoulder right_wrist<right_elbow
            left_shoulder<neck left_elbow<left_shoulder left_wrist<left_elbow mid_hip<-
            right_hip<mid_hip right_knee<right_hip right_ankle<right_knee left_hip<mid_hip
            left_knee<left_hip left_ankle<left_knee right_eye<nose left_eye<nose right_ear<right_eye
            left_ear<left_eye left_big_toe<left_ankle left_small_toe<left_big_toe left_heel<left_ankle
            right_big_toe<right_ankle right_small_toe<right_big_toe right_heel<right_ankle""",
            dims=2,
        ),
        _tree(
            "mediapipe_33",
            """nose<- left_eye_inner<nose left_eye<left_eye_inner left_eye_outer<left_eye right_eye_inner<nose
            right_eye<right_eye_inner right_eye_outer<right_eye left_ear<left_eye_outer
            right_ear<right_eye_outer mouth_left<nose mouth_right<nose left_shoulder<nose
            right_shoulder<nose left_elbow<left_shoulder right_elbow<right_shoulder
            left_wrist<left_elbow right_wrist<right_elbow left_pinky<left_wrist right_pinky<right_wrist
            left_index<left_wrist right_index<right_wrist left_thumb<left_wrist right_thumb<right_wrist
            left_hip<left_shoulder right_hip<right_shoulder left_knee<left_hip right_knee<right_hip
            left_ankle<left_knee right_ankle<right_knee left_heel<left_ankle right_heel<right_ankle
            left_foot_index<left_heel right_foot_index<right_heel""",
        ),
        _tree(
            "jhmdb_15",
            """neck<belly belly<- face<neck shoulder_right<neck shoulder_left<neck hip_right<belly hip_left<belly
            elbow_right<shoulder_right elbow_left<shoulder_left knee_right<hip_right knee_left<hip_left
            wrist_right<elbow_right wrist_left<elbow_left ankle_right<knee_right ankle_left<knee_left""",
            dims=2,
        ),
        _tree(
            "smpl_22",
            """pelvis<- left_hip<pelvis right_hip<pelvis spine1<pelvis left_knee<left_hip right_knee<right_hip
            spine2<spine1 left_ankle<left_knee right_ankle<right_knee spine3<spine2 left_foot<left_ankle
            right_foot<right_ankle neck<spine3 left_collar<spine3 right_collar<spine3 head<neck
            left_shoulder<left_collar right_shoulder<right_collar left_elbow<left_shoulder
            right_elbow<right_shoulder left_wrist<left_elbow right_wrist<right_elbow""",
        ),
        _tree(
            "smpl_24",
            """pelvis<- left_hip<pelvis right_hip<pelvis spine1<pelvis left_knee<left_hip right_knee<right_hip
            spine2<spine1 left_ankle<left_knee right_ankle<right_knee spine3<spine2 left_foot<left_ankle
            right_foot<right_ankle neck<spine3 left_collar<spine3 right_collar<spine3 head<neck
            left_shoulder<left_collar right_shoulder<right_collar left_elbow<left_shoulder
            right_elbow<right_shoulder left_wrist<left_elbow right_wrist<right_elbow
            left_hand<left_wrist right_hand<right_wrist""",
        ),
        _tree(
            "smplh_52",
            """pelvis<- left_hip<pelvis right_hip<pelvis spine1<pelvis left_knee<left_hip right_knee<right_hip
            spine2<spine1 left_ankle<left_knee right_ankle<right_knee spine3<spine2 left_foot<left_ankle
            right_foot<right_ankle neck<spine3 left_collar<spine3 right_collar<spine3 head<neck
            left_shoulder<left_collar right_shoulder<right_collar left_elbow<left_shoulder
            right_elbow<right_shoulder left_wrist<left_elbow right_wrist<right_elbow
            left_index1<left_wrist left_index2<left_index1 left_index3<left_index2
            left_middle1<left_wrist left_middle2<left_middle1 left_middle3<left_middle2
            left_pinky1<left_wrist left_pinky2<left_pinky1 left_pinky3<left_pinky2 left_ring1<left_wrist
            left_ring2<left_ring1 left_ring3<left_ring2 left_thumb1<left_wrist left_thumb2<left_thumb1
            left_thumb3<left_thumb2 right_index1<right_wrist right_index2<right_index1
            right_index3<right_index2 right_middle1<right_wrist right_middle2<right_middle1
            right_middle3<right_middle2 right_pinky1<right_wrist right_pinky2<right_pinky1
            right_pinky3<right_pinky2 right_ring1<right_wrist right_ring2<right_ring1
            right_ring3<right_ring2 right_thumb1<right_wrist right_thumb2<right_thumb1
            right_thumb3<right_thumb2""",
        ),
        # Joint 9 lies between neck and nose; the field calls it both.
        _tree(
            "h36m_17",
            """hip<- right_hip<hip right_knee<right_hip right_foot<right_knee left_hip<hip left_knee<left_hip
            left_foot<left_knee spine<hip thorax<spine neck_nose<thorax head<neck_nose
            left_shoulder<thorax left_elbow<left_shoulder left_wrist<left_elbow right_shoulder<thorax
            right_elbow<right_shoulder right_wrist<right_elbow""",
        ),
        _tree(
            "h36m_32",
            """Hips<- RightUpLeg<Hips RightLeg<RightUpLeg RightFoot<RightLeg RightToeBase<RightFoot
            RightToeSite<RightToeBase LeftUpLeg<Hips LeftLeg<LeftUpLeg LeftFoot<LeftLeg
            LeftToeBase<LeftFoot LeftToeSite<LeftToeBase Spine<Hips Spine1<Spine Neck<Spine1 Head<Neck
            HeadSite<Head LeftShoulder<Spine1 LeftArm<LeftShoulder LeftForeArm<LeftArm
            LeftHand<LeftForeArm LeftHandThumb<LeftHand LeftHandThumbSite<LeftHandThumb
            LeftWristEnd<LeftHand LeftWristSite<LeftWristEnd RightShoulder<Spine1 RightArm<RightShoulder
            RightForeArm<RightArm RightHand<RightForeArm RightHandThumb<RightHand
            RightHandThumbSite<RightHandThumb RightWristEnd<RightHand RightWristSite<RightWristEnd""",
        ),
        # The skeleton of CMU's recordings as BVH files have it, with the tips of its chains.
        _tree(
            "cmu_38",
            """Hips<- LHipJoint<Hips LeftUpLeg<LHipJoint LeftLeg<LeftUpLeg LeftFoot<LeftLeg
            LeftToeBase<LeftFoot LeftToeSite<LeftToeBase RHipJoint<Hips RightUpLeg<RHipJoint
            RightLeg<RightUpLeg RightFoot<RightLeg RightToeBase<RightFoot RightToeSite<RightToeBase
            LowerBack<Hips Spine<LowerBack Spine1<Spine Neck<Spine1 Neck1<Neck Head<Neck1 HeadSite<Head
            LeftShoulder<Spine1 LeftArm<LeftShoulder LeftForeArm<LeftArm LeftHand<LeftForeArm
            LeftFingerBase<LeftHand LeftHandIndex1<LeftFingerBase LeftHandIndexSite<LeftHandIndex1
            LThumb<LeftHand LThumbSite<LThumb RightShoulder<Spine1 RightArm<RightShoulder
            RightForeArm<RightArm RightHand<RightForeArm RightFingerBase<RightHand
            RightHandIndex1<RightFingerBase RightHandIndexSite<RightHandIndex1 RThumb<RightHand
            RThumbSite<RThumb""",
        ),
        # MMM's own names are BP, BT, BLN, LS ...; these say what they are. Not checked on data.
        _tree(
            "kit_21",
            """pelvis<- spine<pelvis chest<spine neck<chest head<neck left_shoulder<neck left_elbow<left_shoulder
            left_wrist<left_elbow right_shoulder<neck right_elbow<right_shoulder right_wrist<right_elbow
            left_hip<pelvis left_knee<left_hip left_ankle<left_knee left_foot<left_ankle
            left_toe<left_foot right_hip<pelvis right_knee<right_hip right_ankle<right_knee
            right_foot<right_ankle right_toe<right_foot""",
        ),
    )
}
