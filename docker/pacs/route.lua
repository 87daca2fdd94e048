-- Every CT slice goes on to the DICOM node, which waits until its series is complete.
-- Results that come back are no CT: they are not sent on.
function OnStoredInstance(instanceId, tags, metadata)
  if tags['Modality'] == 'CT' then
    SendToModality(instanceId, 'cacscore')
  end
end
