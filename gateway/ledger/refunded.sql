UPDATE charges SET state = 'refunded' WHERE job = :job AND state = 'reserved'
