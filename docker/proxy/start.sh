#!/bin/sh
# Fills in the largest body: that of an upload, and room for the rest of its form.
set -eu
bytes=$(( ${CACSCORE_UPLOAD_BYTES:-2147483648} + 1048576 ))
sed "s/@BODY_BYTES@/$bytes/" /etc/cacscore/nginx.conf > /tmp/nginx.conf
exec nginx -c /tmp/nginx.conf -g 'daemon off;'
