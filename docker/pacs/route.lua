-- A CT series of which nothing has come for StableAge seconds goes to the DICOM node.
-- Results that come back are no CT: they are not sent on.
function OnStableSeries(seriesId, tags, metadata)
  if tags['Modality'] == 'CT' then
    SendToModality(seriesId, 'cacscore')
  end
end
