-- Give the use back that a job's reserved charge counted; before the charge itself is marked as refunded.
UPDATE agreements
SET uses = uses - 1
WHERE agreement IN (SELECT name FROM charges WHERE job = :job AND kind = 'agreement' AND state = 'reserved')
